terraform {
  required_version = ">= 1.9"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
    # What azurerm cannot say yet: a workspace and a function app that know no keys, a cluster that can be resized.
    azapi = {
      source  = "Azure/azapi"
      version = "~> 2.6"
    }
  }

  # Where the state is kept is said at `terraform init -backend-config=...`; see docs/azure.md. Nobody holds a key to it.
  backend "azurerm" {
    use_oidc         = true
    use_azuread_auth = true
  }
}

# The subscription comes from ARM_SUBSCRIPTION_ID, and the identity from `az login` or from CI (ARM_USE_OIDC).
provider "azurerm" {
  storage_use_azuread             = true
  resource_provider_registrations = "none"
  resource_providers_to_register = [
    "Microsoft.AlertsManagement",
    "Microsoft.Consumption",
    "Microsoft.ContainerRegistry",
    "Microsoft.EventGrid",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.OperationalInsights",
    "Microsoft.Portal",
    "Microsoft.Storage",
    "Microsoft.Web",
{% if 'data-factory' in cookiecutter.extras.split() %}
    "Microsoft.DataFactory",
{% endif %}
{% if 'kubernetes' in cookiecutter.extras.split() %}
    "Microsoft.ContainerService",
    "Microsoft.KubernetesConfiguration",
{% endif %}
{% if 'private-network' in cookiecutter.extras.split() %}
    "Microsoft.Network",
{% endif %}
  ]

  features {
    # A vault that was deleted is kept, and its name with it: purge protection forbids anything else.
    key_vault {
      purge_soft_delete_on_destroy    = false
      recover_soft_deleted_key_vaults = true
    }
    # Containers and all else are made through Azure's front door: who applies this needs no way into the data.
    storage {
      data_plane_available = false
    }
    resource_group {
      prevent_deletion_if_contains_resources = true
    }
  }
}

provider "azapi" {}
