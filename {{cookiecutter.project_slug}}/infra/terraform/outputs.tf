# What `azure` commands and CI ask for.

output "workspace_id" {
  value = azapi_resource.workspace.id
}

output "storage_account" {
  value = azurerm_storage_account.this.name
}

output "container_registry" {
  value = azurerm_container_registry.this.login_server
}

output "log_analytics_id" {
  value = azurerm_log_analytics_workspace.this.id
}

output "function_app" {
  value = azapi_resource.function_app.name
}

output "pipeline_client_id" {
  value = azurerm_user_assigned_identity.this["pipeline"].client_id
}

output "jobs_identity_id" {
  value = azurerm_user_assigned_identity.this["jobs"].id
}

output "endpoint_identity_id" {
  value = azurerm_user_assigned_identity.this["endpoint"].id
}
