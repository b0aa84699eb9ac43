# What happens by itself: the workspace and the inbox report, a function starts what follows.

locals {
  # Who reports, of what kind it is, and what the topic is called.
  topics = {
    workspace = {
      name = "evgt-${local.conf.workspace}"
      id   = azapi_resource.workspace.id
      type = "Microsoft.MachineLearningServices.Workspaces"
    }
    storage = {
      name = "evgt-${local.conf.storage_account}"
      id   = azurerm_storage_account.this.id
      type = "Microsoft.Storage.StorageAccounts"
    }
  }
  subscriptions = { for item in jsondecode(file("${path.module}/../events.json")) : item.name => item }

  # The identity with which the function app comes to storage, to the workspace and to its logs.
  actor = azurerm_user_assigned_identity.this["events"]
  settings = {
    AzureWebJobsStorage__accountName          = local.conf.storage_account
    AzureWebJobsStorage__credential           = "managedidentity"
    AzureWebJobsStorage__clientId             = local.actor.client_id
    APPLICATIONINSIGHTS_CONNECTION_STRING     = azurerm_application_insights.this.connection_string
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "Authorization=AAD;ClientId=${local.actor.client_id}"
    AZURE_CLIENT_ID                           = local.actor.client_id
    STORAGE_ACCOUNT                           = local.conf.storage_account
    BATCH_ENDPOINT                            = "https://${local.conf.endpoint}-train.${local.conf.location}.inference.ml.azure.com/jobs"
  }
}

resource "azurerm_service_plan" "functions" {
  name                = "asp-${local.conf.function_app}"
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = local.conf.tags
  os_type             = "Linux"
  sku_name            = "FC1"
}

# By azapi, for azurerm_function_app_flex_consumption writes AzureWebJobsStorage, a connection with a key, beside the
# identity, and the host takes it (hashicorp/terraform-provider-azurerm#29693, open).
resource "azapi_resource" "function_app" {
  type      = "Microsoft.Web/sites@2024-04-01"
  name      = local.conf.function_app
  parent_id = data.azurerm_resource_group.this.id
  location  = local.conf.location
  tags      = local.conf.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [local.actor.id]
  }

  body = {
    kind = "functionapp,linux"
    properties = {
      serverFarmId = azurerm_service_plan.functions.id
      httpsOnly    = true
{% if 'private-network' in cookiecutter.extras.split() %}
      # Its way to what is private.
      virtualNetworkSubnetId = "${azurerm_virtual_network.this.id}/subnets/functions"
{% endif %}
      functionAppConfig = {
        deployment = {
          storage = {
            type  = "blobContainer"
            value = "${azurerm_storage_account.this.primary_blob_endpoint}functions"
            authentication = {
              type                           = "UserAssignedIdentity"
              userAssignedIdentityResourceId = local.actor.id
            }
          }
        }
        runtime             = { name = "python", version = "3.12" }
        scaleAndConcurrency = { instanceMemoryMB = 2048, maximumInstanceCount = 40 }
      }
      siteConfig = {
        minTlsVersion    = "1.2"
        scmMinTlsVersion = "1.2"
        ftpsState        = "Disabled"
        http20Enabled    = true
        # Only Event Grid calls; the way in for code stays open to those who have the role.
        ipSecurityRestrictionsDefaultAction = "Deny"
        ipSecurityRestrictions = [
          { name = "event-grid", priority = 100, action = "Allow", tag = "ServiceTag", ipAddress = "AzureEventGrid" }
        ]
        scmIpSecurityRestrictionsUseMain = false
        appSettings                      = [for name, value in local.settings : { name = name, value = value }]
      }
    }
  }

  depends_on = [azurerm_role_assignment.container]
}

# No user names and passwords for the code's way in.
resource "azapi_update_resource" "passwords" {
  for_each = toset(["ftp", "scm"])

  type      = "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01"
  name      = each.value
  parent_id = azapi_resource.function_app.id
  body      = { properties = { allow = false } }
}

resource "azurerm_eventgrid_system_topic" "this" {
  for_each = local.topics

  name                = each.value.name
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = local.conf.tags
  source_resource_id  = each.value.id
  topic_type          = each.value.type

  identity {
    type         = "UserAssigned"
    identity_ids = [local.actor.id]
  }
}

resource "azurerm_eventgrid_system_topic_event_subscription" "delivery" {
  for_each = var.deliver_events ? local.subscriptions : {}

  name                  = each.key
  resource_group_name   = data.azurerm_resource_group.this.name
  system_topic          = azurerm_eventgrid_system_topic.this[each.value.topic].name
  event_delivery_schema = "EventGridSchema"
  included_event_types  = each.value.types

  azure_function_endpoint {
    function_id          = "${azapi_resource.function_app.id}/functions/${each.value.function}"
    max_events_per_batch = 1
  }

  dynamic "subject_filter" {
    for_each = each.value.subject_begins_with == "" ? [] : [each.value.subject_begins_with]
    content {
      subject_begins_with = subject_filter.value
    }
  }

  dynamic "advanced_filter" {
    for_each = length(each.value.filters) > 0 ? [each.value.filters] : []
    content {
      dynamic "string_contains" {
        for_each = [for rule in advanced_filter.value : rule if rule.operator == "StringContains"]
        content {
          key    = string_contains.value.key
          values = string_contains.value.values
        }
      }
      dynamic "string_ends_with" {
        for_each = [for rule in advanced_filter.value : rule if rule.operator == "StringEndsWith"]
        content {
          key    = string_ends_with.value.key
          values = string_ends_with.value.values
        }
      }
      dynamic "string_in" {
        for_each = [for rule in advanced_filter.value : rule if rule.operator == "StringIn"]
        content {
          key    = string_in.value.key
          values = string_in.value.values
        }
      }
    }
  }

  retry_policy {
    max_delivery_attempts = 10
    event_time_to_live    = 1440
  }

  # What nobody took for a day is kept, and an alert tells.
  dead_letter_identity {
    type                   = "UserAssigned"
    user_assigned_identity = local.actor.id
  }
  storage_blob_dead_letter_destination {
    storage_account_id          = azurerm_storage_account.this.id
    storage_blob_container_name = "dead-letters"
  }

  lifecycle {
    precondition {
      condition     = alltrue([for rule in each.value.filters : contains(["StringContains", "StringEndsWith", "StringIn"], rule.operator)])
      error_message = "events.json: only StringContains, StringEndsWith and StringIn are written down in events.tf."
    }
  }

  depends_on = [azurerm_role_assignment.container]
}
