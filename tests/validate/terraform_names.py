"""What Azure calls the things that Terraform's providers call otherwise."""

from typing import Any

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
# The type that a resource has in Azure, and the argument that says of what it is a part, if it is a part.
TYPES: dict[str, tuple[str, str]] = {
    "azurerm_application_insights": ("Microsoft.Insights/components", ""),
    "azurerm_application_insights_standard_web_test": ("Microsoft.Insights/webtests", ""),
    "azurerm_consumption_budget_resource_group": ("Microsoft.Consumption/budgets", "resource_group_id"),
    "azurerm_container_registry": ("Microsoft.ContainerRegistry/registries", ""),
    "azurerm_data_factory": ("Microsoft.DataFactory/factories", ""),
    "azurerm_data_factory_pipeline": ("Microsoft.DataFactory/factories/pipelines", "data_factory_id"),
    "azurerm_data_factory_trigger_blob_event": ("Microsoft.DataFactory/factories/triggers", "data_factory_id"),
    "azurerm_eventgrid_system_topic": ("Microsoft.EventGrid/systemTopics", ""),
    "azurerm_eventgrid_system_topic_event_subscription": (
        "Microsoft.EventGrid/systemTopics/eventSubscriptions",
        "system_topic",
    ),
    "azurerm_federated_identity_credential": (
        "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "parent_id",
    ),
    "azurerm_key_vault": ("Microsoft.KeyVault/vaults", ""),
    "azurerm_kubernetes_cluster": ("Microsoft.ContainerService/managedClusters", ""),
    "azurerm_kubernetes_cluster_extension": ("Microsoft.KubernetesConfiguration/extensions", "cluster_id"),
    "azurerm_log_analytics_workspace": ("Microsoft.OperationalInsights/workspaces", ""),
    "azurerm_monitor_action_group": ("Microsoft.Insights/actionGroups", ""),
    "azurerm_monitor_diagnostic_setting": ("Microsoft.Insights/diagnosticSettings", "target_resource_id"),
    "azurerm_monitor_metric_alert": ("Microsoft.Insights/metricAlerts", ""),
    "azurerm_monitor_scheduled_query_rules_alert_v2": ("Microsoft.Insights/scheduledQueryRules", ""),
    "azurerm_network_security_group": ("Microsoft.Network/networkSecurityGroups", ""),
    "azurerm_portal_dashboard": ("Microsoft.Portal/dashboards", ""),
    "azurerm_private_dns_zone": ("Microsoft.Network/privateDnsZones", ""),
    "azurerm_private_dns_zone_virtual_network_link": (
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
        "private_dns_zone_name",
    ),
    "azurerm_private_endpoint": ("Microsoft.Network/privateEndpoints", ""),
    "azurerm_role_assignment": ("Microsoft.Authorization/roleAssignments", "scope"),
    "azurerm_role_definition": ("Microsoft.Authorization/roleDefinitions", "scope"),
    "azurerm_service_plan": ("Microsoft.Web/serverfarms", ""),
    "azurerm_storage_account": ("Microsoft.Storage/storageAccounts", ""),
    "azurerm_storage_container": ("Microsoft.Storage/storageAccounts/blobServices/containers", "storage_account_id"),
    "azurerm_user_assigned_identity": ("Microsoft.ManagedIdentity/userAssignedIdentities", ""),
    "azurerm_virtual_network": ("Microsoft.Network/virtualNetworks", ""),
}


def resource_id(kind: str, value: dict[str, Any]) -> str:
    """Return the id that Azure gives to a resource."""
    type_, parent_key = TYPES[kind] if kind in TYPES else (value["type"].split("@")[0], "parent_id")
    group = f"{SUBSCRIPTION}/resourceGroups/{value.get('resource_group_name')}"
    name, parent = value.get("name"), value[parent_key] if parent_key else group
    if kind == "azurerm_role_definition":
        return f"role {name}"
    if kind == "azurerm_role_assignment":
        return assignment_id(value["scope"], value["role_definition_id"], value["principal_id"])
    if not parent.startswith("/"):
        parent = f"{group}/providers/{type_.rpartition('/')[0]}/{parent}"
    return part_of(parent, type_, str(name))


def part_of(parent: str, type_: str, name: str) -> str:
    """Return the id of what is a part of something, or is laid upon it."""
    outer, _, last = type_.rpartition("/")
    if type_.count("/") == 1:
        return f"{parent}/providers/{type_}/{name}"
    if outer.endswith("/blobServices") and "/blobServices/" not in parent:
        return f"{parent}/blobServices/default/{last}/{name}"
    return f"{parent}/{last}/{name}"


def assignment_id(scope: str, role: str, principal: str) -> str:
    """Return an id for a role assignment: its name, a random one, says nothing."""
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{role} to {principal}"
