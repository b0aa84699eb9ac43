# All that one environment of {{ cookiecutter.project_slug }} needs in Azure. Names and sizes stand in conf/environments, nowhere else.
#
#   terraform -chdir=infra/terraform apply -var environment=dev
#
# Endpoints, deployments, schedules and the registry of models are not here: CI makes them with `az ml`.

locals {
  conf   = yamldecode(file("${path.module}/../../conf/environments/${var.environment}.yaml"))
{% if 'private-network' in cookiecutter.extras.split() %}
  public = false
{% else %}
  public = true
{% endif %}

  # Functions keep their code in the third, their locks and keys in the last two; Event Grid puts there what nobody took.
  containers = ["inbox", "data", "scores", "functions", "dead-letters", "azure-webjobs-hosts", "azure-webjobs-secrets"]
}

data "azurerm_client_config" "current" {}

data "azurerm_resource_group" "this" {
  name = local.conf.resource_group
}

# Who acts: no secret, no key, one identity for each.
resource "azurerm_user_assigned_identity" "this" {
  for_each = local.conf.identities

  name                = each.value
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = local.conf.tags
}

resource "azurerm_federated_identity_credential" "trust" {
  count = local.conf.federated.subject == "" ? 0 : 1

  name                = "ci-${local.conf.name}"
  resource_group_name = data.azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.this["pipeline"].id
  issuer              = local.conf.federated.issuer
  subject             = local.conf.federated.subject
  audience            = ["api://AzureADTokenExchange"]
}

# What the workspace rests on: logs, storage, vault and images. No keys, no passwords: who comes, comes with an identity.
resource "azurerm_log_analytics_workspace" "this" {
  name                         = local.conf.log_analytics
  resource_group_name          = data.azurerm_resource_group.this.name
  location                     = local.conf.location
  tags                         = local.conf.tags
  sku                          = "PerGB2018"
  retention_in_days            = local.conf.retention_days
  local_authentication_enabled = false
}

resource "azurerm_application_insights" "this" {
  name                          = local.conf.application_insights
  resource_group_name           = data.azurerm_resource_group.this.name
  location                      = local.conf.location
  tags                          = local.conf.tags
  application_type              = "web"
  workspace_id                  = azurerm_log_analytics_workspace.this.id
  local_authentication_disabled = true
}

resource "azurerm_storage_account" "this" {
  name                             = local.conf.storage_account
  resource_group_name              = data.azurerm_resource_group.this.name
  location                         = local.conf.location
  tags                             = local.conf.tags
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = "ZRS"
  access_tier                      = "Hot"
  is_hns_enabled                   = false # a workspace's own account may not be a data lake
  shared_access_key_enabled        = false
  local_user_enabled               = false
  allow_nested_items_to_be_public  = false
  cross_tenant_replication_enabled = false
  default_to_oauth_authentication  = true
  https_traffic_only_enabled       = true
  min_tls_version                  = "TLS1_2"
  public_network_access_enabled    = local.public

  network_rules {
    default_action = local.public ? "Allow" : "Deny"
    bypass         = ["AzureServices"]
  }

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 14
    }
    container_delete_retention_policy {
      days = 14
    }
  }
}

resource "azurerm_storage_container" "this" {
  for_each = toset(local.containers)

  name                  = each.value
  storage_account_id    = azurerm_storage_account.this.id
  container_access_type = "private"
}

resource "azurerm_key_vault" "this" {
  name                          = local.conf.key_vault
  resource_group_name           = data.azurerm_resource_group.this.name
  location                      = local.conf.location
  tags                          = local.conf.tags
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  soft_delete_retention_days    = 90
  purge_protection_enabled      = true
  public_network_access_enabled = local.public

  network_acls {
    default_action = local.public ? "Allow" : "Deny"
    bypass         = "AzureServices"
  }
}

resource "azurerm_container_registry" "this" {
  name                          = local.conf.container_registry
  resource_group_name           = data.azurerm_resource_group.this.name
  location                      = local.conf.location
  tags                          = local.conf.tags
  sku                           = local.public ? "Standard" : "Premium" # private endpoints are Premium's
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = local.public
  network_rule_bypass_option    = "AzureServices"
}

# azurerm learned in 4.77 to make a workspace that reads storage by identity. Until that is the lowest version that we
# take, azapi makes it: an account without keys cannot be the storage of a workspace that starts with keys.
resource "azapi_resource" "workspace" {
  type      = "Microsoft.MachineLearningServices/workspaces@2025-12-01"
  name      = local.conf.workspace
  parent_id = data.azurerm_resource_group.this.id
  location  = local.conf.location
  tags      = local.conf.tags

  identity {
    type         = "SystemAssigned, UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["jobs"].id]
  }

  body = {
    kind = "Default"
    sku  = { name = "Basic", tier = "Basic" }
    properties = {
      friendlyName             = local.conf.workspace
      storageAccount           = azurerm_storage_account.this.id
      keyVault                 = azurerm_key_vault.this.id
      applicationInsights      = azurerm_application_insights.this.id
      containerRegistry        = azurerm_container_registry.this.id
      systemDatastoresAuthMode = "Identity"
      publicNetworkAccess      = local.public ? "Enabled" : "Disabled"
      # A private registry lets nobody build images but the cluster.
      imageBuildCompute   = local.public ? "" : local.conf.compute.name
      managedNetwork      = { isolationMode = local.conf.isolation }
      provisionNetworkNow = local.conf.isolation != "Disabled"
      v1LegacyMode        = false
    }
  }
}

# By azapi, for azurerm makes a new cluster for every change, and ends the jobs on the old one.
resource "azapi_resource" "cluster" {
  type      = "Microsoft.MachineLearningServices/workspaces/computes@2025-12-01"
  name      = local.conf.compute.name
  parent_id = azapi_resource.workspace.id
  location  = local.conf.location
  tags      = local.conf.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["jobs"].id]
  }

  body = {
    properties = {
      computeType      = "AmlCompute"
      disableLocalAuth = true
      properties = {
        vmSize     = local.conf.compute.vm_size
        vmPriority = local.conf.compute.priority
        scaleSettings = {
          minNodeCount                = 0
          maxNodeCount                = local.conf.compute.max_nodes
          nodeIdleTimeBeforeScaleDown = "PT2M"
        }
        enableNodePublicIp          = local.conf.isolation == "Disabled"
        remoteLoginPortPublicAccess = "Disabled"
      }
    }
  }
}
