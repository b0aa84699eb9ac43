// What happens by itself: the workspace and the inbox report, a function starts what follows.

@description('The environment: a file of conf/environments.')
param conf object

@description('Principal ids of the identities: jobs, endpoint, pipeline, events.')
param principals object

param deliverEvents bool

@description('Where the function app enters a private network; empty: nowhere.')
param subnetId string = ''

var subscriptions = loadJsonContent('../events.json')
var grants = loadJsonContent('../grants.json')
var topics = {
  workspace: 'evgt-${conf.workspace}'
  storage: 'evgt-${conf.storage_account}'
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: conf.identities.events
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: conf.workspace
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: conf.storage_account
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: conf.application_insights
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'asp-${conf.function_app}'
  location: conf.location
  tags: conf.tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource functions 'Microsoft.Web/sites@2024-04-01' = {
  name: conf.function_app
  location: conf.location
  tags: conf.tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}functions'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.12'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: 2048
        maximumInstanceCount: 40
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      // Only Event Grid calls; the way in for code stays open to those who have the role.
      ipSecurityRestrictionsDefaultAction: 'Deny'
      ipSecurityRestrictions: [
        {
          name: 'event-grid'
          priority: 100
          action: 'Allow'
          tag: 'ServiceTag'
          ipAddress: 'AzureEventGrid'
        }
      ]
      scmIpSecurityRestrictionsUseMain: false
      appSettings: [
        { name: 'AzureWebJobsStorage__accountName', value: storage.name }
        { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
        { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
        { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.properties.ConnectionString }
        { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'Authorization=AAD;ClientId=${identity.properties.clientId}' }
        { name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }
        { name: 'STORAGE_ACCOUNT', value: storage.name }
        { name: 'BATCH_ENDPOINT', value: 'https://${conf.endpoint}-train.${conf.location}.inference.ml.azure.com/jobs' }
      ]
    }
  }
}

// No user names and passwords for the code's way in.
resource passwords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = [for way in ['ftp', 'scm']: {
  parent: functions
  name: way
  properties: {
    allow: false
  }
}]

// CI publishes the code.
resource functionsGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for grant in grants.function_app: {
  name: guid(functions.id, grant.who, grant.role)
  scope: functions
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grants.built_in_roles[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
  }
}]

resource workspaceTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topics.workspace
  location: conf.location
  tags: conf.tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    source: workspace.id
    topicType: 'Microsoft.MachineLearningServices.Workspaces'
  }
}

resource storageTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topics.storage
  location: conf.location
  tags: conf.tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    source: storage.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource delivery 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [for item in (deliverEvents ? subscriptions : []): {
  name: '${topics[item.topic]}/${item.name}'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: item.types
      subjectBeginsWith: item.subject_begins_with
      advancedFilters: map(item.filters, rule => {
        operatorType: rule.operator
        key: rule.key
        values: rule.values
      })
    }
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: '${functions.id}/functions/${item.function}'
        maxEventsPerBatch: 1
      }
    }
    retryPolicy: {
      maxDeliveryAttempts: 10
      eventTimeToLiveInMinutes: 1440
    }
    // What nobody took for a day is kept, and an alert tells.
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: identity.id
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: storage.id
          blobContainerName: 'dead-letters'
        }
      }
    }
  }
  dependsOn: [
    workspaceTopic
    storageTopic
  ]
}]

output workspaceTopicId string = workspaceTopic.id
output storageTopicId string = storageTopic.id
