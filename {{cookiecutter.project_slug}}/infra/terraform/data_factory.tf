# Ingestion by Data Factory: what arrives in the inbox starts a retraining, and the run waits for its end.

locals {
  ingestion = jsondecode(file("${path.module}/../data_factory.json"))
}

resource "azurerm_data_factory" "this" {
  name                   = "adf-${local.conf.workspace}"
  resource_group_name    = data.azurerm_resource_group.this.name
  location               = local.conf.location
  tags                   = local.conf.tags
  public_network_enabled = local.public

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_data_factory_pipeline" "ingestion" {
  name            = "ingestion"
  data_factory_id = azurerm_data_factory.this.id
  description     = local.ingestion.description
  concurrency     = 1 # what arrives meanwhile waits
  activities_json = jsonencode(local.ingestion.activities)

  parameters = {
    plan     = "${azurerm_storage_account.this.primary_blob_endpoint}functions/retrain.json"
    endpoint = local.settings.BATCH_ENDPOINT
    jobs     = "https://management.azure.com${azapi_resource.workspace.id}/jobs"
    file     = ""
    folder   = ""
  }
}

# Triggers are made stopped: `az datafactory trigger start` once for each. One takes only one ending.
resource "azurerm_data_factory_trigger_blob_event" "arrived" {
  for_each = { for trigger in local.ingestion.triggers : trigger.name => trigger }

  name                  = each.key
  data_factory_id       = azurerm_data_factory.this.id
  storage_account_id    = azurerm_storage_account.this.id
  activated             = false
  events                = ["Microsoft.Storage.BlobCreated"]
  blob_path_begins_with = each.value.begins_with
  blob_path_ends_with   = each.value.ends_with
  ignore_empty_blobs    = false # a marker may be empty

  pipeline {
    name = azurerm_data_factory_pipeline.ingestion.name
    parameters = {
      file   = "@triggerBody().fileName"
      folder = "@triggerBody().folderPath"
    }
  }
}

# The same as the function app may: start a job of a batch endpoint. But of its containers, only what comes next.
resource "azurerm_role_assignment" "data_factory" {
  scope              = data.azurerm_resource_group.this.id
  role_definition_id = azurerm_role_definition.custom["events"].role_definition_resource_id
  principal_id       = azurerm_data_factory.this.identity[0].principal_id
  principal_type     = "ServicePrincipal"
  condition          = local.grants.data_only
  condition_version  = "2.0"
}

# It reads what a retraining takes.
resource "azurerm_role_assignment" "data_factory_plan" {
  scope              = azurerm_storage_container.this["functions"].id
  role_definition_id = "${local.definitions}/${local.grants.built_in_roles["Storage Blob Data Reader"]}"
  principal_id       = azurerm_data_factory.this.identity[0].principal_id
  principal_type     = "ServicePrincipal"
}
