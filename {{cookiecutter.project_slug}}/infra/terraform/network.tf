# A private network: what is inside reaches the workspace and its storage, vault and registry, and nobody else does.

locals {
  zones = {
    api       = "privatelink.api.azureml.ms"
    notebooks = "privatelink.notebooks.azure.net"
    blob      = "privatelink.blob.core.windows.net"
    file      = "privatelink.file.core.windows.net"
    queue     = "privatelink.queue.core.windows.net"
    table     = "privatelink.table.core.windows.net"
    vault     = "privatelink.vaultcore.azure.net"
    registry  = "privatelink.azurecr.io"
  }

  # Batch scoring keeps its books in queues and tables; notebooks live in a file share.
  entries = {
    workspace = { target = azapi_resource.workspace.id, group = "amlworkspace", zones = ["api", "notebooks"] }
    blob      = { target = azurerm_storage_account.this.id, group = "blob", zones = ["blob"] }
    file      = { target = azurerm_storage_account.this.id, group = "file", zones = ["file"] }
    queue     = { target = azurerm_storage_account.this.id, group = "queue", zones = ["queue"] }
    table     = { target = azurerm_storage_account.this.id, group = "table", zones = ["table"] }
    vault     = { target = azurerm_key_vault.this.id, group = "vault", zones = ["vault"] }
    registry  = { target = azurerm_container_registry.this.id, group = "registry", zones = ["registry"] }
  }
}

# Nothing from outside may begin a conversation.
resource "azurerm_network_security_group" "guard" {
  name                = "nsg-${local.conf.workspace}"
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = local.conf.tags

  security_rule {
    name                       = "no-internet-in"
    priority                   = 4000
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "Internet"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}

resource "azurerm_virtual_network" "this" {
  name                = "vnet-${local.conf.workspace}"
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = local.conf.tags
  address_space       = ["10.20.0.0/16"]

  subnet {
    name                              = "endpoints"
    address_prefixes                  = ["10.20.0.0/24"]
    private_endpoint_network_policies = "Enabled"
    security_group                    = azurerm_network_security_group.guard.id
  }

  subnet {
    name             = "functions"
    address_prefixes = ["10.20.1.0/24"]
    security_group   = azurerm_network_security_group.guard.id

    delegation {
      name = "functions"
      service_delegation {
        name = "Microsoft.App/environments" # what Flex Consumption runs on
      }
    }
  }
}

resource "azurerm_private_dns_zone" "this" {
  for_each = local.zones

  name                = each.value
  resource_group_name = data.azurerm_resource_group.this.name
  tags                = local.conf.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each = local.zones

  name                  = "vnet-${local.conf.workspace}"
  resource_group_name   = data.azurerm_resource_group.this.name
  private_dns_zone_name = azurerm_private_dns_zone.this[each.key].name
  virtual_network_id    = azurerm_virtual_network.this.id
  registration_enabled  = false
}

resource "azurerm_private_endpoint" "this" {
  for_each = local.entries

  name                = "pep-${local.conf.workspace}-${each.key}"
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = local.conf.tags
  subnet_id           = "${azurerm_virtual_network.this.id}/subnets/endpoints"

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.target
    subresource_names              = [each.value.group]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [for zone in each.value.zones : azurerm_private_dns_zone.this[zone].id]
  }
}
