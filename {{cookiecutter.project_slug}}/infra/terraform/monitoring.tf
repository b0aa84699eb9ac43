# Who is told what: logs of everything in one place, alerts by e-mail, a dashboard, and a budget.

locals {
  alerts = jsondecode(file("${path.module}/../alerts.json"))

  watched = {
    workspace        = azapi_resource.workspace.id
    storage          = azurerm_storage_account.this.id
    vault            = azurerm_key_vault.this.id
    workspace_events = azurerm_eventgrid_system_topic.this["workspace"].id
    storage_events   = azurerm_eventgrid_system_topic.this["storage"].id
  }

  # Whose logs are kept, and which.
  logged = {
    workspace = { id = azapi_resource.workspace.id, logs = "allLogs", metrics = "AllMetrics" }
    blobs     = { id = "${azurerm_storage_account.this.id}/blobServices/default", logs = "audit", metrics = "Transaction" }
    vault     = { id = azurerm_key_vault.this.id, logs = "audit", metrics = "AllMetrics" }
    registry  = { id = azurerm_container_registry.this.id, logs = "audit", metrics = "AllMetrics" }
  }
}

resource "azurerm_monitor_diagnostic_setting" "this" {
  for_each = local.logged

  name                       = "to-${local.conf.log_analytics}"
  target_resource_id         = each.value.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id

  enabled_log {
    category_group = each.value.logs
  }
  enabled_metric {
    category = each.value.metrics
  }
}

resource "azurerm_monitor_action_group" "people" {
  name                = "ag-${local.conf.workspace}"
  resource_group_name = data.azurerm_resource_group.this.name
  location            = "global"
  tags                = local.conf.tags
  short_name          = "ml-${local.conf.name}"

  email_receiver {
    name                    = "team"
    email_address           = local.conf.notify
    use_common_alert_schema = true
  }
}

resource "azurerm_monitor_metric_alert" "this" {
  for_each = { for alert in local.alerts.metrics : alert.name => alert }

  name                = "alert-${each.key}-${local.conf.name}"
  resource_group_name = data.azurerm_resource_group.this.name
  tags                = local.conf.tags
  description         = each.value.description
  severity            = each.value.severity
  scopes              = [local.watched[each.value.resource]]
  frequency           = each.value.frequency
  window_size         = each.value.window

  criteria {
    metric_namespace = each.value.namespace
    metric_name      = each.value.metric
    aggregation      = each.value.aggregation
    operator         = each.value.operator
    threshold        = each.value.threshold
  }
  action {
    action_group_id = azurerm_monitor_action_group.people.id
  }
}

# A table that nobody has written to yet is no reason to refuse its alert.
resource "azurerm_monitor_scheduled_query_rules_alert_v2" "this" {
  for_each = { for alert in local.alerts.queries : alert.name => alert }

  name                    = "alert-${each.key}-${local.conf.name}"
  display_name            = "alert-${each.key}-${local.conf.name}"
  resource_group_name     = data.azurerm_resource_group.this.name
  location                = local.conf.location
  tags                    = local.conf.tags
  description             = each.value.description
  severity                = each.value.severity
  scopes                  = [azurerm_log_analytics_workspace.this.id]
  evaluation_frequency    = each.value.frequency
  window_duration         = each.value.window
  auto_mitigation_enabled = true
  skip_query_validation   = true

  criteria {
    query                   = each.value.query
    metric_measure_column   = each.value.column == "" ? null : each.value.column
    time_aggregation_method = each.value.aggregation
    operator                = each.value.operator
    threshold               = each.value.threshold

    failing_periods {
      number_of_evaluation_periods             = 1
      minimum_failing_periods_to_trigger_alert = 1
    }
  }
  action {
    action_groups = [azurerm_monitor_action_group.people.id]
  }
}

resource "azurerm_application_insights_standard_web_test" "availability" {
  count = local.conf.health_url == "" ? 0 : 1

  name                    = "webtest-${local.conf.workspace}"
  resource_group_name     = data.azurerm_resource_group.this.name
  location                = local.conf.location
  tags                    = local.conf.tags
  application_insights_id = azurerm_application_insights.this.id
  frequency               = 300
  timeout                 = 30
  retry_enabled           = true
  geo_locations           = ["emea-nl-ams-azr", "emea-gb-db3-azr", "us-va-ash-azr"]

  request {
    url                              = local.conf.health_url
    parse_dependent_requests_enabled = false
  }
  validation_rules {
    expected_status_code        = 200
    ssl_check_enabled           = true
    ssl_cert_remaining_lifetime = 14
  }
}

resource "azurerm_monitor_metric_alert" "unavailable" {
  count = local.conf.health_url == "" ? 0 : 1

  name                = "alert-unavailable-${local.conf.name}"
  resource_group_name = data.azurerm_resource_group.this.name
  tags                = local.conf.tags
  description         = "The service does not answer, seen from two places."
  severity            = 1
  scopes              = [azurerm_application_insights_standard_web_test.availability[0].id, azurerm_application_insights.this.id]
  frequency           = "PT1M"
  window_size         = "PT5M"

  application_insights_web_test_location_availability_criteria {
    web_test_id           = azurerm_application_insights_standard_web_test.availability[0].id
    component_id          = azurerm_application_insights.this.id
    failed_location_count = 2
  }
  action {
    action_group_id = azurerm_monitor_action_group.people.id
  }
}

resource "azurerm_portal_dashboard" "this" {
  name                = "dash-${local.conf.workspace}"
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.conf.location
  tags                = merge(local.conf.tags, { hidden-title = "Models (${local.conf.name})" })
  dashboard_properties = replace(
    file("${path.module}/../dashboard.json"), "LOG_ANALYTICS_ID", azurerm_log_analytics_workspace.this.id
  )
}

resource "azurerm_consumption_budget_resource_group" "this" {
  name              = "budget-${local.conf.workspace}"
  resource_group_id = data.azurerm_resource_group.this.id
  amount            = local.conf.budget
  time_grain        = "Monthly"

  time_period {
    start_date = "${coalesce(var.budget_start, formatdate("YYYY-MM-01", plantimestamp()))}T00:00:00Z"
  }

  dynamic "notification" {
    for_each = [80, 100]
    content {
      operator       = "GreaterThanOrEqualTo"
      threshold      = notification.value
      threshold_type = "Actual"
      contact_emails = [local.conf.notify]
    }
  }

  lifecycle {
    ignore_changes = [time_period] # it began when it was made
  }
}
