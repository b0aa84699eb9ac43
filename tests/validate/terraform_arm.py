"""What a Terraform plan would send to Azure, in Azure's own words.

For each kind of resource one row tells which argument of the provider becomes which property. An argument that no row
reads is reported: whoever writes a new one adds it here, and so to what is compared with Bicep.
Where the provider sends something of its own accord, it stands in the row as it is sent.
"""

import json
from collections.abc import Callable
from typing import Any

from validate import terraform_names

Resource = dict[str, Any]


class Said(dict[str, Any]):
    """The arguments of a resource or of a block in it; it notes which of them are read."""

    def __init__(self, values: dict[str, Any]) -> None:
        """Take the values, and those of the blocks in them."""
        super().__init__({key: _said(value) for key, value in values.items()})
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        """Return a value, None if nothing was said."""
        self.read.add(key)
        return self.get(key)

    def one(self, key: str) -> "Said":
        """Return the only block of a name; an empty one if there is none."""
        blocks = self[key]
        return blocks[0] if blocks else Said({})

    def unread(self, settable: set[str] | None = None) -> list[str]:
        """Return what was said and never read."""
        found = []
        for key, value in self.items():
            blocks = [one for one in value if isinstance(one, Said)] if isinstance(value, list) else []
            if key not in self.read and value not in (None, [], {}, "") and (settable is None or key in settable):
                found.append(key)
            elif key in self.read:
                found += [f"{key}.{inner}" for block in blocks for inner in block.unread()]
        return found


def _said(value: Any) -> Any:
    if isinstance(value, list):
        return [Said(one) if isinstance(one, dict) else one for one in value]
    return value


def on(value: bool | None) -> str:
    """Return the word for a switch."""
    return "Enabled" if value else "Disabled"


def off(value: bool | None) -> bool | None:
    """Return the opposite of a switch, and nothing for nothing."""
    return None if value is None else not value


def _identity(said: Said) -> Resource | None:
    """Return who a resource is."""
    block = said.one("identity")
    block.read.add("principal_id")
    ids: Resource = {one: {} for one in block["identity_ids"] or []}
    return {"type": block["type"].replace(", ", ","), "userAssignedIdentities": ids} if block else None


def network(block: Said) -> Resource:
    """Return who is let in to a storage account or a vault."""
    bypass = block["bypass"]
    return {
        "defaultAction": block["default_action"],
        "bypass": bypass if isinstance(bypass, str) else ", ".join(bypass),
    }


def _log_analytics(said: Said) -> Resource:
    features = {"disableLocalAuth": off(said["local_authentication_enabled"])}
    return {"sku": {"name": said["sku"]}, "retentionInDays": said["retention_in_days"], "features": features}


def _storage(said: Said) -> Resource:
    return {
        "kind": said["account_kind"],
        "sku": {"name": f"{said['account_tier']}_{said['account_replication_type']}"},
        "properties": {
            "accessTier": said["access_tier"],
            "isHnsEnabled": said["is_hns_enabled"],
            "allowSharedKeyAccess": said["shared_access_key_enabled"],
            "isLocalUserEnabled": said["local_user_enabled"],
            "allowBlobPublicAccess": said["allow_nested_items_to_be_public"],
            "allowCrossTenantReplication": said["cross_tenant_replication_enabled"],
            "defaultToOAuthAuthentication": said["default_to_oauth_authentication"],
            "supportsHttpsTrafficOnly": said["https_traffic_only_enabled"],
            "minimumTlsVersion": said["min_tls_version"],
            "publicNetworkAccess": on(said["public_network_access_enabled"]),
            "networkAcls": network(said.one("network_rules")),
        },
    }


def _blobs(said: Said) -> Resource:
    block = said.one("blob_properties")
    kept = {"deleteRetentionPolicy": "delete_retention_policy"}
    kept["containerDeleteRetentionPolicy"] = "container_delete_retention_policy"
    days = {arm: {"enabled": bool(block[name]), "days": block.one(name)["days"]} for arm, name in kept.items()}
    return {"name": "default", "properties": {"isVersioningEnabled": block["versioning_enabled"], **days}}


def _vault(said: Said) -> Resource:
    return {
        "tenantId": said["tenant_id"],
        "sku": {"family": "A", "name": said["sku_name"]},
        "enableRbacAuthorization": said["rbac_authorization_enabled"],
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": said["soft_delete_retention_days"],
        "enablePurgeProtection": said["purge_protection_enabled"],
        "publicNetworkAccess": on(said["public_network_access_enabled"]),
        "networkAcls": network(said.one("network_acls")),
    }


def _registry(said: Said) -> Resource:
    return {
        "sku": {"name": said["sku"]},
        "properties": {
            "adminUserEnabled": said["admin_enabled"],
            "anonymousPullEnabled": said["anonymous_pull_enabled"],
            "publicNetworkAccess": on(said["public_network_access_enabled"]),
            "networkRuleBypassOptions": said["network_rule_bypass_option"],
        },
    }


def _role(said: Said) -> Resource:
    words = {"actions": "actions", "notActions": "not_actions", "dataActions": "data_actions"}
    words["notDataActions"] = "not_data_actions"
    return {
        "roleName": said["name"],
        "description": said["description"],
        "type": "CustomRole",
        "permissions": [{arm: block[name] for arm, name in words.items()} for block in said["permissions"]],
        "assignableScopes": said["assignable_scopes"],
    }


def _assignment(said: Said) -> Resource:
    words = {"roleDefinitionId": "role_definition_id", "principalId": "principal_id", "principalType": "principal_type"}
    words |= {"condition": "condition", "conditionVersion": "condition_version"}
    return {arm: said[name] for arm, name in words.items()}


def _diagnostics(said: Said) -> Resource:
    return {
        "workspaceId": said["log_analytics_workspace_id"],
        "logs": [{"categoryGroup": one["category_group"], "enabled": True} for one in said["enabled_log"]],
        "metrics": [{"category": one["category"], "enabled": True} for one in said["enabled_metric"]],
    }


def _action_group(said: Said) -> Resource:
    words = {"name": "name", "emailAddress": "email_address", "useCommonAlertSchema": "use_common_alert_schema"}
    people = [{arm: one[name] for arm, name in words.items()} for one in said["email_receiver"]]
    return {"enabled": True, "groupShortName": said["short_name"], "emailReceivers": people}


def _metric_alert(said: Said) -> Resource:
    outside = said.one("application_insights_web_test_location_availability_criteria")
    words = {"metricNamespace": "metric_namespace", "metricName": "metric_name", "timeAggregation": "aggregation"}
    words |= {"operator": "operator", "threshold": "threshold"}
    fixed = {"name": "Metric1", "criterionType": "StaticThresholdCriterion"}
    limits = [fixed | {arm: one[name] for arm, name in words.items()} for one in said["criteria"]]
    criteria = {"odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria", "allOf": limits}
    if outside:
        criteria = {
            "odata.type": "Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria",
            "webTestId": outside["web_test_id"],
            "componentId": outside["component_id"],
            "failedLocationCount": outside["failed_location_count"],
        }
    return {
        "location": "global",
        "properties": {
            "description": said["description"],
            "enabled": True,
            "autoMitigate": True,
            "severity": said["severity"],
            "scopes": said["scopes"],
            "evaluationFrequency": said["frequency"],
            "windowSize": said["window_size"],
            "criteria": criteria,
            "actions": [{"actionGroupId": one["action_group_id"]} for one in said["action"]],
        },
    }


def _query_alert(said: Said) -> Resource:
    words = {"query": "query", "metricMeasureColumn": "metric_measure_column", "operator": "operator"}
    words |= {"timeAggregation": "time_aggregation_method", "threshold": "threshold"}
    limits = []
    for one in said["criteria"]:
        failing = one.one("failing_periods")
        periods = {
            "numberOfEvaluationPeriods": failing["number_of_evaluation_periods"],
            "minFailingPeriodsToAlert": failing["minimum_failing_periods_to_trigger_alert"],
        }
        limits.append({arm: one[name] for arm, name in words.items()} | {"failingPeriods": periods})
    return {
        "kind": "LogAlert",
        "properties": {
            "displayName": said["display_name"],
            "description": said["description"],
            "enabled": True,
            "severity": said["severity"],
            "scopes": said["scopes"],
            "evaluationFrequency": said["evaluation_frequency"],
            "windowSize": said["window_duration"],
            "autoMitigate": said["auto_mitigation_enabled"],
            "skipQueryValidation": said["skip_query_validation"],
            "criteria": {"allOf": limits},
            "actions": {"actionGroups": said.one("action")["action_groups"]},
        },
    }


def _web_test(said: Said) -> Resource:
    asked, rules = said.one("request"), said.one("validation_rules")
    return {
        "kind": "standard",
        "tags": {**said["tags"], f"hidden-link:{said['application_insights_id']}": "Resource"},
        "properties": {
            "SyntheticMonitorId": said["name"],
            "Name": said["name"],
            "Enabled": True,
            "Kind": "standard",
            "Frequency": said["frequency"],
            "Timeout": said["timeout"],
            "RetryEnabled": said["retry_enabled"],
            "Locations": [{"Id": one} for one in said["geo_locations"]],
            "Request": {
                "RequestUrl": asked["url"],
                "HttpVerb": asked["http_verb"] or "GET",
                "ParseDependentRequests": asked["parse_dependent_requests_enabled"],
            },
            "ValidationRules": {
                "ExpectedHttpStatusCode": rules["expected_status_code"],
                "SSLCheck": rules["ssl_check_enabled"],
                "SSLCertRemainingLifetimeCheck": rules["ssl_cert_remaining_lifetime"],
            },
        },
    }


def _budget(said: Said) -> Resource:
    words = {"operator": "operator", "threshold": "threshold", "thresholdType": "threshold_type"}
    words["contactEmails"] = "contact_emails"
    told = {
        str(one["threshold"]): {"enabled": True} | {a: one[n] for a, n in words.items()} for one in said["notification"]
    }
    return {
        "category": "Cost",
        "amount": said["amount"],
        "timeGrain": said["time_grain"],
        "timePeriod": {"startDate": said.one("time_period")["start_date"].partition("T")[0]},
        "notifications": told,
    }


def _plan(said: Said) -> Resource:
    linux = said["os_type"] == "Linux"
    sku = said["sku_name"]
    kind = (
        {"kind": "functionapp", "sku": {"name": sku, "tier": "FlexConsumption"}}
        if sku == "FC1"
        else {"sku": {"name": sku}}
    )
    return {**kind, "properties": {"reserved": linux}}


def _topic(said: Said) -> Resource:
    return {"source": said["source_resource_id"], "topicType": said["topic_type"]}


def _subscription(said: Said) -> Resource:
    target, retry = said.one("azure_function_endpoint"), said.one("retry_policy")
    who, kept = said.one("dead_letter_identity"), said.one("storage_blob_dead_letter_destination")
    rules = []
    for block in said["advanced_filter"] or []:
        for name in [key for key, value in block.items() if value]:
            operator = "".join(word.capitalize() for word in name.split("_"))
            rules += [{"operatorType": operator, "key": one["key"], "values": one["values"]} for one in block[name]]
    return {
        "eventDeliverySchema": said["event_delivery_schema"],
        "filter": {
            "includedEventTypes": said["included_event_types"],
            "subjectBeginsWith": said.one("subject_filter")["subject_begins_with"],
            "advancedFilters": rules,
        },
        "destination": {
            "endpointType": "AzureFunction",
            "properties": {"resourceId": target["function_id"], "maxEventsPerBatch": target["max_events_per_batch"]},
        },
        "retryPolicy": {
            "maxDeliveryAttempts": retry["max_delivery_attempts"],
            "eventTimeToLiveInMinutes": retry["event_time_to_live"],
        },
        "deadLetterWithResourceIdentity": {
            "identity": {"type": who["type"], "userAssignedIdentity": who["user_assigned_identity"]},
            "deadLetterDestination": {
                "endpointType": "StorageBlob",
                "properties": {
                    "resourceId": kept["storage_account_id"],
                    "blobContainerName": kept["storage_blob_container_name"],
                },
            },
        },
    }


def _guard(said: Said) -> Resource:
    words = {"priority": "priority", "direction": "direction", "access": "access", "protocol": "protocol"}
    words |= {"sourceAddressPrefix": "source_address_prefix", "sourcePortRange": "source_port_range"}
    words |= {
        "destinationAddressPrefix": "destination_address_prefix",
        "destinationPortRange": "destination_port_range",
    }
    rules = [
        {"name": one["name"], "properties": {a: one[n] for a, n in words.items()}} for one in said["security_rule"]
    ]
    return {"securityRules": rules}


def _virtual_network(said: Said) -> Resource:
    subnets = []
    for one in said["subnet"]:
        group, (prefix,) = one["security_group"], one["address_prefixes"]
        inside = {
            "addressPrefix": prefix,
            "privateEndpointNetworkPolicies": one["private_endpoint_network_policies"],
            "networkSecurityGroup": {"id": group} if group else None,
            "delegations": [
                {"name": each["name"], "properties": {"serviceName": each.one("service_delegation")["name"]}}
                for each in one["delegation"]
            ],
        }
        subnets.append({"name": one["name"], "properties": inside})
    return {"addressSpace": {"addressPrefixes": said["address_space"]}, "subnets": subnets}


def _link(said: Said) -> Resource:
    target = {"registrationEnabled": said["registration_enabled"], "virtualNetwork": {"id": said["virtual_network_id"]}}
    return {"location": "global", "properties": target}


def _entry(said: Said) -> Resource:
    connection = said.one("private_service_connection")
    manual = connection["is_manual_connection"]
    to = {
        "privateLinkServiceId": connection["private_connection_resource_id"],
        "groupIds": connection["subresource_names"],
    }
    name = "manualPrivateLinkServiceConnections" if manual else "privateLinkServiceConnections"
    return {"subnet": {"id": said["subnet_id"]}, name: [{"name": connection["name"], "properties": to}]}


def _entry_names(said: Said) -> Resource:
    block = said.one("private_dns_zone_group")
    zones = [{"properties": {"privateDnsZoneId": one}} for one in block["private_dns_zone_ids"]]
    return {"name": block["name"], "properties": {"privateDnsZoneConfigs": zones}}


def _pipeline(said: Said) -> Resource:
    return {
        "description": said["description"],
        "concurrency": said["concurrency"],
        "parameters": {key: {"type": "String", "defaultValue": value} for key, value in said["parameters"].items()},
        "activities": json.loads(said["activities_json"]),
    }


def _trigger(said: Said) -> Resource:
    started = {
        "pipelineReference": {"type": "PipelineReference", "referenceName": said.one("pipeline")["name"]},
        "parameters": said.one("pipeline")["parameters"],
    }
    return {
        "type": "BlobEventsTrigger",
        "typeProperties": {
            "scope": said["storage_account_id"],
            "events": said["events"],
            "blobPathBeginsWith": said["blob_path_begins_with"],
            "blobPathEndsWith": said["blob_path_ends_with"],
            "ignoreEmptyBlobs": said["ignore_empty_blobs"],
        },
        "pipelines": [started],
        # Bicep's is made stopped; this one too, if it says so.
        **({"runtimeState": "Started"} if said["activated"] else {}),
    }


def _kubernetes(said: Said) -> Resource:
    pool, wires, logs = said.one("default_node_pool"), said.one("network_profile"), said.one("oms_agent")
    return {
        "sku": {"name": "Base", "tier": said["sku_tier"]},
        "properties": {
            "dnsPrefix": said["dns_prefix"],
            "enableRBAC": said["role_based_access_control_enabled"],
            "disableLocalAccounts": said["local_account_disabled"],
            "aadProfile": {
                "managed": True,
                "enableAzureRBAC": said.one("azure_active_directory_role_based_access_control")["azure_rbac_enabled"],
            },
            "agentPoolProfiles": [
                {
                    "name": pool["name"],
                    "mode": "System",
                    "type": pool["type"],
                    "osType": "Linux",
                    "osSKU": pool["os_sku"],
                    "vmSize": pool["vm_size"],
                    "enableAutoScaling": pool["auto_scaling_enabled"],
                    "minCount": pool["min_count"],
                    "count": pool["node_count"] or pool["min_count"],
                    "maxCount": pool["max_count"],
                    "maxPods": pool["max_pods"],
                }
            ],
            "apiServerAccessProfile": {"enablePrivateCluster": said["private_cluster_enabled"]},
            "networkProfile": {
                "networkPlugin": wires["network_plugin"],
                "networkPluginMode": wires["network_plugin_mode"],
                "networkDataplane": wires["network_data_plane"],
                "networkPolicy": wires["network_policy"],
                "loadBalancerSku": wires["load_balancer_sku"],
            },
            "autoUpgradeProfile": {
                "upgradeChannel": said["automatic_upgrade_channel"],
                "nodeOSUpgradeChannel": said["node_os_upgrade_channel"],
            },
            "oidcIssuerProfile": {"enabled": said["oidc_issuer_enabled"]},
            "securityProfile": {"workloadIdentity": {"enabled": said["workload_identity_enabled"]}},
            "addonProfiles": {
                "azurepolicy": {"enabled": said["azure_policy_enabled"]},
                "omsagent": {
                    "enabled": bool(logs),
                    "config": {
                        "logAnalyticsWorkspaceResourceID": logs["log_analytics_workspace_id"],
                        "useAADAuth": json.dumps(logs["msi_auth_for_monitoring_enabled"]),
                    },
                },
            },
        },
    }


def _extension(said: Said) -> Resource:
    return {
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "extensionType": said["extension_type"],
            "releaseTrain": said["release_train"],
            "autoUpgradeMinorVersion": said["version"] is None,
            "scope": {"cluster": {"releaseNamespace": said["release_namespace"]}},
            "configurationSettings": said["configuration_settings"],
        },
    }


def _trust(said: Said) -> Resource:
    return {"issuer": said["issuer"], "subject": said["subject"], "audiences": said["audience"]}


def _insights(said: Said) -> Resource:
    words = {"Application_Type": "application_type", "WorkspaceResourceId": "workspace_id"}
    words["DisableLocalAuth"] = "local_authentication_disabled"
    return {"kind": said["application_type"], "properties": {arm: said[name] for arm, name in words.items()}}


def _container(said: Said) -> Resource:
    return {
        "publicAccess": {"private": "None", "blob": "Blob", "container": "Container"}[said["container_access_type"]]
    }


def _dashboard(said: Said) -> Resource:
    return dict(json.loads(said["dashboard_properties"]))


def _factory(said: Said) -> Resource:
    return {"publicNetworkAccess": on(said["public_network_enabled"])}


def _nothing(said: Said) -> Resource:
    """A name, a place and tags are all that there is to say."""
    return {}


# The properties of each kind; a row with "properties" in what it returns gives all of the resource.
ROWS: dict[str, Callable[[Said], Resource]] = {
    "azurerm_application_insights": _insights,
    "azurerm_application_insights_standard_web_test": _web_test,
    "azurerm_consumption_budget_resource_group": _budget,
    "azurerm_container_registry": _registry,
    "azurerm_data_factory": _factory,
    "azurerm_data_factory_pipeline": _pipeline,
    "azurerm_data_factory_trigger_blob_event": _trigger,
    "azurerm_eventgrid_system_topic": _topic,
    "azurerm_eventgrid_system_topic_event_subscription": _subscription,
    "azurerm_federated_identity_credential": _trust,
    "azurerm_key_vault": _vault,
    "azurerm_kubernetes_cluster": _kubernetes,
    "azurerm_kubernetes_cluster_extension": _extension,
    "azurerm_log_analytics_workspace": _log_analytics,
    "azurerm_monitor_action_group": _action_group,
    "azurerm_monitor_diagnostic_setting": _diagnostics,
    "azurerm_monitor_metric_alert": _metric_alert,
    "azurerm_monitor_scheduled_query_rules_alert_v2": _query_alert,
    "azurerm_network_security_group": _guard,
    "azurerm_portal_dashboard": _dashboard,
    "azurerm_private_dns_zone": _nothing,
    "azurerm_private_dns_zone_virtual_network_link": _link,
    "azurerm_private_endpoint": _entry,
    "azurerm_role_assignment": _assignment,
    "azurerm_role_definition": _role,
    "azurerm_service_plan": _plan,
    "azurerm_storage_account": _storage,
    "azurerm_storage_container": _container,
    "azurerm_user_assigned_identity": _nothing,
    "azurerm_virtual_network": _virtual_network,
}
# What Azure has as a resource of its own, and azurerm as a block of another.
PARTS = {
    "azurerm_storage_account": ("Microsoft.Storage/storageAccounts/blobServices", _blobs),
    "azurerm_private_endpoint": ("Microsoft.Network/privateEndpoints/privateDnsZoneGroups", _entry_names),
}
# What Azure calls a value that azurerm gives back.
GIVEN_BACK = {"primary_blob_endpoint": "blob", "connection_string": "ConnectionString", "login_server": "loginServer"}
# Said of where a resource is, which its id says too, or of what is only for Terraform.
ELSEWHERE = {"id", "name", "resource_group_name", "resource_group_id", "parent_id", "scope", "cluster_id"}
ELSEWHERE |= {"data_factory_id", "target_resource_id", "system_topic"}
ELSEWHERE |= {"private_dns_zone_name", "storage_account_id", "application_insights_id", "timeouts"}


def in_azures_words(text: str) -> str:
    """Return a text in which what a resource gives back is called as Azure calls it."""
    for ours, azure in GIVEN_BACK.items():
        text = text.replace(f"#{ours}", f"#{azure}")
    return text


def resources(planned: dict[str, Any], settable: set[str]) -> list[Resource]:
    """Return what one resource of a plan becomes in Azure.

    Args:
        planned: the resource as `terraform show -json` prints it, with ids foretold.
        settable: the arguments and blocks that its author may write.

    Raises:
        AssertionError: the resource says something that no row reads.
    """
    kind, text = planned["type"], json.dumps(planned["values"])
    said = Said(json.loads(in_azures_words(text)))
    azapi = kind.startswith("azapi")
    type_ = said["type"].partition("@")[0] if azapi else terraform_names.TYPES[kind][0]
    told = dict(said["body"] or {}) if azapi else ROWS[kind](said)
    if not azapi and "properties" not in told:
        told = {"properties": told}
    made = {
        "identity": _identity(said),
        "location": said["location"],
        "tags": said["tags"],
        **told,
        "type": type_,
        "id": said["id"],
        "name": said["name"],
    }
    found = [made]
    if kind in PARTS:
        part, row = PARTS[kind]
        told = row(said)
        found.append({**told, "type": part, "id": terraform_names.part_of(said["id"], part, told["name"])})
    left = said.unread(settable - ELSEWHERE)
    assert not left, f"{kind}: terraform_arm.py does not say what becomes of {left}"
    return found
