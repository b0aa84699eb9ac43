# What a private network promises.

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      subscription_id = "00000000-0000-0000-0000-000000000000"
      tenant_id       = "00000000-0000-0000-0000-000000000000"
    }
  }
  mock_data "azurerm_resource_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg"
    }
  }
}

mock_provider "azapi" {}

variables {
  environment = "prod"
}

run "nobody_comes_in_from_outside" {
  command = plan

  assert {
    condition = !anytrue([
      azurerm_storage_account.this.public_network_access_enabled,
      azurerm_key_vault.this.public_network_access_enabled,
      azurerm_container_registry.this.public_network_access_enabled,
      azapi_resource.workspace.body.properties.publicNetworkAccess != "Disabled",
    ])
    error_message = "Storage, vault, registry or workspace can be reached from the internet."
  }
  assert {
    condition     = azapi_resource.workspace.body.properties.managedNetwork.isolationMode != "Disabled"
    error_message = "The workspace's own network is open: see isolation in conf/environments."
  }
  assert {
    condition     = toset([for entry in azurerm_private_endpoint.this : entry.private_service_connection[0].subresource_names[0]]) == toset(["amlworkspace", "blob", "file", "queue", "table", "vault", "registry"])
    error_message = "Something has no entry in the private network."
  }
  assert {
    condition     = !azapi_resource.cluster.body.properties.properties.enableNodePublicIp
    error_message = "The cluster's nodes have addresses in the internet."
  }
}
