"""What a repository needs before its pipelines run: made once by `gh` or `az`, without a click in a portal."""
