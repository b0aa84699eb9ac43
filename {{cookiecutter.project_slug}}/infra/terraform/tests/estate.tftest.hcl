# `terraform -chdir=infra/terraform test` asks what a plan would make. It needs no account: nothing is asked of Azure.

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
  environment = "dev"
}

run "nobody_needs_a_key" {
  command = plan

  assert {
    condition     = !azurerm_storage_account.this.shared_access_key_enabled
    error_message = "The storage account has shared keys."
  }
  assert {
    condition     = !azurerm_storage_account.this.allow_nested_items_to_be_public
    error_message = "Blobs may be public."
  }
  assert {
    condition     = alltrue([for container in azurerm_storage_container.this : container.container_access_type == "private"])
    error_message = "A container is open to everybody."
  }
  assert {
    condition     = azurerm_storage_account.this.min_tls_version == "TLS1_2"
    error_message = "The storage account takes TLS older than 1.2."
  }
  assert {
    condition     = azapi_resource.workspace.body.properties.systemDatastoresAuthMode == "Identity"
    error_message = "The workspace reads its storage with a key."
  }
  assert {
    condition     = azurerm_key_vault.this.rbac_authorization_enabled && azurerm_key_vault.this.purge_protection_enabled
    error_message = "The vault has access policies, or may be purged."
  }
  assert {
    condition     = !azurerm_container_registry.this.admin_enabled && !azurerm_container_registry.this.anonymous_pull_enabled
    error_message = "The registry has an administrator with a password, or gives images to anybody."
  }
  assert {
    condition     = azapi_resource.cluster.body.properties.disableLocalAuth
    error_message = "The cluster lets in who has a password."
  }
  assert {
    condition     = !azurerm_log_analytics_workspace.this.local_authentication_enabled && azurerm_application_insights.this.local_authentication_disabled
    error_message = "Logs are taken from anybody who has a key."
  }
  assert {
    condition     = !contains([for setting in azapi_resource.function_app.body.properties.siteConfig.appSettings : setting.name], "AzureWebJobsStorage")
    error_message = "The function app comes to its storage with a key."
  }
}

run "idle_costs_nothing" {
  command = plan

  assert {
    condition     = azapi_resource.cluster.body.properties.properties.scaleSettings.minNodeCount == 0
    error_message = "The cluster keeps nodes that nobody uses."
  }
}

run "only_a_known_subject_is_trusted" {
  command = plan

  assert {
    condition     = length(azurerm_federated_identity_credential.trust) == (local.conf.federated.subject == "" ? 0 : 1)
    error_message = "CI is trusted though conf/environments names no subject, or the other way round."
  }
}

run "nobody_may_what_is_not_theirs" {
  command = plan

  # For each role and each deed: no allowed pattern may fit it that is not taken back.
  assert {
    condition = alltrue(flatten([
      for role in azurerm_role_definition.custom : [
        for deed in [
          "Microsoft.Authorization/roleAssignments/write",
          "Microsoft.Authorization/roleDefinitions/write",
          "Microsoft.MachineLearningServices/workspaces/write",
          "Microsoft.MachineLearningServices/workspaces/delete",
          "Microsoft.MachineLearningServices/workspaces/computes/write",
          "Microsoft.MachineLearningServices/workspaces/computes/delete",
          "Microsoft.MachineLearningServices/workspaces/listKeys/action",
          "Microsoft.Storage/storageAccounts/listKeys/action",
        ] :
        !anytrue([for pattern in role.permissions[0].actions : can(regex("(?i)^${replace(replace(pattern, ".", "\\."), "*", ".*")}$", deed))])
        || anytrue([for pattern in role.permissions[0].not_actions : can(regex("(?i)^${replace(replace(pattern, ".", "\\."), "*", ".*")}$", deed))])
      ]
    ]))
    error_message = "A role of infra/roles.json may change the workspace, compute or roles, or read keys."
  }
}

run "production_is_not_smaller" {
  command = plan

  variables {
    environment = "prod"
  }

  assert {
    condition     = azapi_resource.cluster.body.properties.properties.scaleSettings.maxNodeCount > yamldecode(file("../../conf/environments/dev.yaml")).compute.max_nodes
    error_message = "Production's cluster is no larger than development's."
  }
  assert {
    condition     = azapi_resource.cluster.body.properties.properties.vmPriority == "Dedicated"
    error_message = "Production runs on nodes that Azure may take back at any time."
  }
  assert {
    condition     = azurerm_log_analytics_workspace.this.retention_in_days >= yamldecode(file("../../conf/environments/dev.yaml")).retention_days
    error_message = "Production forgets its logs sooner than development."
  }
}

run "events_wait_for_the_code" {
  command = plan

  assert {
    condition     = length(azurerm_eventgrid_system_topic_event_subscription.delivery) == 0
    error_message = "Events are delivered to a function whose code is not there."
  }
}

run "no_event_is_lost" {
  command = plan

  variables {
    deliver_events = true
  }

  assert {
    condition     = length(azurerm_eventgrid_system_topic_event_subscription.delivery) == length(jsondecode(file("../events.json")))
    error_message = "Not every event of infra/events.json is delivered."
  }
  assert {
    condition = alltrue([
      for delivery in azurerm_eventgrid_system_topic_event_subscription.delivery :
      delivery.retry_policy[0].max_delivery_attempts > 1 && delivery.storage_blob_dead_letter_destination[0].storage_blob_container_name == "dead-letters"
    ])
    error_message = "An event is given up at once, or is not kept when it is given up."
  }
}

run "somebody_is_told" {
  command = plan

  assert {
    condition     = azurerm_monitor_action_group.people.email_receiver[0].email_address == local.conf.notify
    error_message = "Alerts go to somebody else than conf/environments names."
  }
  assert {
    condition     = length(azurerm_monitor_metric_alert.this) + length(azurerm_monitor_scheduled_query_rules_alert_v2.this) == length(local.alerts.metrics) + length(local.alerts.queries)
    error_message = "Not every alert of infra/alerts.json is made."
  }
  assert {
    condition     = [length(azurerm_application_insights_standard_web_test.availability), length(azurerm_monitor_metric_alert.unavailable)] == (local.conf.health_url == "" ? [0, 0] : [1, 1])
    error_message = "Nobody asks whether the service is well, or somebody does though conf/environments names no page."
  }
  assert {
    condition     = toset([for notice in azurerm_consumption_budget_resource_group.this.notification : notice.threshold]) == toset([80, 100])
    error_message = "Nobody is told before the budget is spent."
  }
}

run "another_environment_is_refused" {
  command = plan

  variables {
    environment = "production"
  }

  expect_failures = [var.environment]
}
