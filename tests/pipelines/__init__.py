"""Interpreters that play a project's pipelines on this machine as GitHub Actions and Azure Pipelines document them."""
