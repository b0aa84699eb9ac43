# Who may do what: the custom roles of infra/roles.json, who gets them, and what each identity may do (infra/grants.json).

locals {
  custom_roles = jsondecode(file("${path.module}/../roles.json"))
  grants       = jsondecode(file("${path.module}/../grants.json"))

  scopes = {
    storage              = azurerm_storage_account.this.id
    registry             = azurerm_container_registry.this.id
    application_insights = azurerm_application_insights.this.id
    workspace            = azapi_resource.workspace.id
    endpoint_identity    = azurerm_user_assigned_identity.this["endpoint"].id
    function_app         = azapi_resource.function_app.id
  }
  on_scopes = flatten([
    for scope in keys(local.scopes) : [for grant in local.grants[scope] : merge({ data_only = false }, grant, { scope = scope })]
  ])

  definitions = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
}

resource "azurerm_role_definition" "custom" {
  for_each = local.custom_roles

  name              = "${each.value.name} (${local.conf.workspace})"
  description       = each.value.description
  scope             = data.azurerm_resource_group.this.id
  assignable_scopes = [data.azurerm_resource_group.this.id]

  permissions {
    actions          = each.value.actions
    not_actions      = each.value.notActions
    data_actions     = each.value.dataActions
    not_data_actions = each.value.notDataActions
  }
}

resource "azurerm_role_assignment" "people" {
  for_each = { for role, group in local.conf.groups : role => group if group != "" }

  scope              = data.azurerm_resource_group.this.id
  role_definition_id = azurerm_role_definition.custom[each.key].role_definition_resource_id
  principal_id       = each.value
  principal_type     = "Group"
  condition          = local.grants.data_only
  condition_version  = "2.0"
}

resource "azurerm_role_assignment" "custom" {
  for_each = toset(local.grants.custom_roles)

  scope              = data.azurerm_resource_group.this.id
  role_definition_id = azurerm_role_definition.custom[each.key].role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.this[each.key].principal_id
  principal_type     = "ServicePrincipal"
  condition          = local.grants.data_only
  condition_version  = "2.0"
}

resource "azurerm_role_assignment" "grant" {
  for_each = { for grant in local.on_scopes : "${grant.who}: ${grant.role} on ${grant.scope}" => grant }

  scope              = local.scopes[each.value.scope]
  role_definition_id = "${local.definitions}/${local.grants.built_in_roles[each.value.role]}"
  principal_id       = azurerm_user_assigned_identity.this[each.value.who].principal_id
  principal_type     = "ServicePrincipal"
  condition          = each.value.data_only ? local.grants.data_only : null
  condition_version  = each.value.data_only ? "2.0" : null
}

# The function app owns what is its own, and nothing else of the account; CI puts retrain.json beside its code.
resource "azurerm_role_assignment" "container" {
  for_each = { for grant in local.grants.containers : "${grant.who}: ${grant.role} on ${grant.container}" => grant }

  scope              = azurerm_storage_container.this[each.value.container].id
  role_definition_id = "${local.definitions}/${local.grants.built_in_roles[each.value.role]}"
  principal_id       = azurerm_user_assigned_identity.this[each.value.who].principal_id
  principal_type     = "ServicePrincipal"
}

# Engineers and operators may give an endpoint its identity, and no other one: Azure asks for it at every change.
resource "azurerm_role_assignment" "deployers" {
  for_each = setsubtract([local.conf.groups.ml_engineer, local.conf.groups.operator], [""])

  scope              = azurerm_user_assigned_identity.this["endpoint"].id
  role_definition_id = "${local.definitions}/${local.grants.built_in_roles["Managed Identity Operator"]}"
  principal_id       = each.value
  principal_type     = "Group"
}
