// Who is told what: alerts by e-mail, a dashboard, and a budget.

@description('The environment: a file of conf/environments.')
param conf object

param budgetStart string
param workspaceTopicId string
param storageTopicId string

var alerts = loadJsonContent('../alerts.json')
var watched = {
  workspace: workspace.id
  storage: storage.id
  vault: vault.id
  workspace_events: workspaceTopicId
  storage_events: storageTopicId
}
var dashboardText = replace(loadTextContent('../dashboard.json'), 'LOG_ANALYTICS_ID', logs.id)

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: conf.log_analytics
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: conf.application_insights
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: conf.storage_account
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: conf.key_vault
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: conf.workspace
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${conf.workspace}'
  location: 'global'
  tags: conf.tags
  properties: {
    enabled: true
    groupShortName: 'ml-${conf.name}'
    emailReceivers: [
      {
        name: 'team'
        emailAddress: conf.notify
        useCommonAlertSchema: true
      }
    ]
  }
}

resource metricAlert 'Microsoft.Insights/metricAlerts@2018-03-01' = [for alert in alerts.metrics: {
  name: 'alert-${alert.name}-${conf.name}'
  location: 'global'
  tags: conf.tags
  properties: {
    description: alert.description
    enabled: true
    severity: alert.severity
    scopes: [
      watched[alert.resource]
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: alert.name
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: alert.namespace
          metricName: alert.metric
          timeAggregation: alert.aggregation
          operator: alert.operator
          threshold: alert.threshold
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}]

// A table that nobody has written to yet is no reason to refuse its alert.
resource queryAlert 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [for alert in alerts.queries: {
  name: 'alert-${alert.name}-${conf.name}'
  location: conf.location
  tags: conf.tags
  kind: 'LogAlert'
  properties: {
    displayName: 'alert-${alert.name}-${conf.name}'
    description: alert.description
    enabled: true
    severity: alert.severity
    scopes: [
      logs.id
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    autoMitigate: true
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: alert.query
          metricMeasureColumn: empty(alert.column) ? null : alert.column
          timeAggregation: alert.aggregation
          operator: alert.operator
          threshold: alert.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [
        people.id
      ]
    }
  }
}]

resource availability 'Microsoft.Insights/webtests@2022-06-15' = if (!empty(conf.health_url)) {
  name: 'webtest-${conf.workspace}'
  location: conf.location
  tags: union(conf.tags, { 'hidden-link:${insights.id}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: 'webtest-${conf.workspace}'
    Name: 'webtest-${conf.workspace}'
    Enabled: true
    Kind: 'standard'
    Frequency: 300
    Timeout: 30
    RetryEnabled: true
    Locations: [
      { Id: 'emea-nl-ams-azr' }
      { Id: 'emea-gb-db3-azr' }
      { Id: 'us-va-ash-azr' }
    ]
    Request: {
      RequestUrl: conf.health_url
      HttpVerb: 'GET'
      ParseDependentRequests: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 14
    }
  }
}

resource unavailable 'Microsoft.Insights/metricAlerts@2018-03-01' = if (!empty(conf.health_url)) {
  name: 'alert-unavailable-${conf.name}'
  location: 'global'
  tags: conf.tags
  properties: {
    description: 'The service does not answer, seen from two places.'
    enabled: true
    severity: 1
    scopes: [
      availability.id
      insights.id
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: availability.id
      componentId: insights.id
      failedLocationCount: 2
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource dashboard 'Microsoft.Portal/dashboards@2020-09-01-preview' = {
  name: 'dash-${conf.workspace}'
  location: conf.location
  tags: union(conf.tags, { 'hidden-title': 'Models (${conf.name})' })
  properties: json(dashboardText)
}

resource budget 'Microsoft.Consumption/budgets@2023-11-01' = {
  name: 'budget-${conf.workspace}'
  properties: {
    category: 'Cost'
    amount: conf.budget
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: budgetStart
    }
    notifications: {
      most: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [
          conf.notify
        ]
      }
      all: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 100
        thresholdType: 'Actual'
        contactEmails: [
          conf.notify
        ]
      }
    }
  }
}
