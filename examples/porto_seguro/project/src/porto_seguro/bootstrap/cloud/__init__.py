"""The half of bootstrap that only a project on Azure has: identities, environments, service connections."""
