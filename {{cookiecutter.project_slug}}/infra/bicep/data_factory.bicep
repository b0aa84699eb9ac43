// Ingestion by Data Factory: what arrives in the inbox starts a retraining, and the run waits for its end.

@description('The environment: a file of conf/environments.')
param conf object

param publicAccess string

var definition = loadJsonContent('../data_factory.json')

var grants = loadJsonContent('../grants.json')

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: conf.storage_account
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: storage
  name: 'default'
}

resource functions 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  parent: blobs
  name: 'functions'
}

resource factory 'Microsoft.DataFactory/factories@2018-06-01' = {
  name: 'adf-${conf.workspace}'
  location: conf.location
  tags: conf.tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    publicNetworkAccess: publicAccess
  }
}

resource ingestion 'Microsoft.DataFactory/factories/pipelines@2018-06-01' = {
  parent: factory
  name: 'ingestion'
  properties: {
    description: definition.description
    concurrency: 1 // what arrives meanwhile waits
    parameters: {
      plan: {
        type: 'String'
        defaultValue: '${storage.properties.primaryEndpoints.blob}functions/retrain.json'
      }
      endpoint: {
        type: 'String'
        defaultValue: 'https://${conf.endpoint}-train.${conf.location}.inference.ml.azure.com/jobs'
      }
      jobs: {
        type: 'String'
        defaultValue: '${environment().resourceManager}subscriptions/${subscription().subscriptionId}/resourceGroups/${resourceGroup().name}/providers/Microsoft.MachineLearningServices/workspaces/${conf.workspace}/jobs'
      }
      file: {
        type: 'String'
      }
      folder: {
        type: 'String'
      }
    }
    activities: definition.activities
  }
}

// Triggers are made stopped: `az datafactory trigger start` once for each. One takes only one ending.
resource arrived 'Microsoft.DataFactory/factories/triggers@2018-06-01' = [for trigger in definition.triggers: {
  parent: factory
  name: trigger.name
  properties: {
    type: 'BlobEventsTrigger'
    typeProperties: {
      scope: storage.id
      events: [
        'Microsoft.Storage.BlobCreated'
      ]
      blobPathBeginsWith: trigger.begins_with
      blobPathEndsWith: trigger.ends_with
      ignoreEmptyBlobs: false // a marker may be empty
    }
    pipelines: [
      {
        pipelineReference: {
          type: 'PipelineReference'
          referenceName: ingestion.name
        }
        parameters: {
          file: '@triggerBody().fileName'
          folder: '@triggerBody().folderPath'
        }
      }
    ]
  }
}]

// The same as the function app may: start a job of a batch endpoint. But of its containers, only what comes next.
resource startGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(factory.id, 'events')
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', guid(resourceGroup().id, 'events'))
    principalId: factory.identity.principalId
    principalType: 'ServicePrincipal'
    condition: grants.data_only
    conditionVersion: '2.0'
  }
}

// It reads what a retraining takes.
resource planGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(factory.id, 'functions')
  scope: functions
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grants.built_in_roles['Storage Blob Data Reader'])
    principalId: factory.identity.principalId
    principalType: 'ServicePrincipal'
  }
}
