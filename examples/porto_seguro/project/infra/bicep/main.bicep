// All that one environment of porto-seguro needs in Azure. Names and sizes stand in conf/environments, nowhere else.
//
//   az deployment group create -g <resource_group> -f infra/bicep/main.bicep -p environment=dev
//
// Endpoints, deployments, schedules and the registry of models are not here: CI makes them with `az ml`.
targetScope = 'resourceGroup'

@allowed([
  'dev'
  'test'
  'prod'
])
param environment string

@description('Whether events are delivered. Event Grid refuses a function that is not there: false until its code is.')
param deliverEvents bool = false

@description('When the budget begins; the first of a month.')
param budgetStart string = utcNow('yyyy-MM-01')

var environments = {
  dev: loadYamlContent('../../conf/environments/dev.yaml')
  test: loadYamlContent('../../conf/environments/test.yaml')
  prod: loadYamlContent('../../conf/environments/prod.yaml')
}
var conf = environments[environment]
var publicNetworkAccess = 'Enabled'

var principals = {
  jobs: jobs.properties.principalId
  endpoint: endpoint.properties.principalId
  pipeline: pipeline.properties.principalId
  events: events.properties.principalId
}

// Who acts: no secret, no key, one identity for each.
resource jobs 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: conf.identities.jobs
  location: conf.location
  tags: conf.tags
}

resource endpoint 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: conf.identities.endpoint
  location: conf.location
  tags: conf.tags
}

resource pipeline 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: conf.identities.pipeline
  location: conf.location
  tags: conf.tags
}

resource events 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: conf.identities.events
  location: conf.location
  tags: conf.tags
}

resource trust 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = if (!empty(conf.federated.subject)) {
  parent: pipeline
  name: 'ci-${conf.name}'
  properties: {
    issuer: conf.federated.issuer
    subject: conf.federated.subject
    audiences: [
      'api://AzureADTokenExchange'
    ]
  }
}

module base 'base.bicep' = {
  name: 'base'
  params: {
    conf: conf
    publicAccess: publicNetworkAccess
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' = {
  name: conf.workspace
  location: conf.location
  tags: conf.tags
  kind: 'Default'
  sku: {
    name: 'Basic'
    tier: 'Basic'
  }
  identity: {
    type: 'SystemAssigned,UserAssigned'
    userAssignedIdentities: {
      '${jobs.id}': {}
    }
  }
  properties: {
    friendlyName: conf.workspace
    storageAccount: base.outputs.storageId
    keyVault: base.outputs.vaultId
    applicationInsights: base.outputs.insightsId
    containerRegistry: base.outputs.registryId
    systemDatastoresAuthMode: 'Identity'
    publicNetworkAccess: publicNetworkAccess
    // A private registry lets nobody build images but the cluster.
    imageBuildCompute: publicNetworkAccess == 'Enabled' ? null : conf.compute.name
    managedNetwork: {
      isolationMode: conf.isolation
    }
    provisionNetworkNow: conf.isolation != 'Disabled'
    v1LegacyMode: false
  }
}

resource cluster 'Microsoft.MachineLearningServices/workspaces/computes@2025-12-01' = {
  parent: workspace
  name: conf.compute.name
  location: conf.location
  tags: conf.tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${jobs.id}': {}
    }
  }
  properties: {
    computeType: 'AmlCompute'
    disableLocalAuth: true
    properties: {
      vmSize: conf.compute.vm_size
      vmPriority: conf.compute.priority
      scaleSettings: {
        minNodeCount: 0
        maxNodeCount: conf.compute.max_nodes
        nodeIdleTimeBeforeScaleDown: 'PT2M'
      }
      enableNodePublicIp: conf.isolation == 'Disabled'
      remoteLoginPortPublicAccess: 'Disabled'
    }
  }
}

module roles 'roles.bicep' = {
  name: 'roles'
  params: {
    conf: conf
    principals: principals
  }
  dependsOn: [
    base
    workspace
  ]
}

module reactions 'events.bicep' = {
  name: 'events'
  params: {
    conf: conf
    principals: principals
    deliverEvents: deliverEvents
  }
  dependsOn: [
    roles
  ]
}

module diagnostics 'diagnostics.bicep' = {
  name: 'diagnostics'
  params: {
    conf: conf
  }
  dependsOn: [
    base
    workspace
  ]
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    conf: conf
    budgetStart: budgetStart
    workspaceTopicId: reactions.outputs.workspaceTopicId
    storageTopicId: reactions.outputs.storageTopicId
  }
}

// What `azure` commands and CI ask for.
output workspaceId string = workspace.id
output storageAccount string = conf.storage_account
output containerRegistry string = base.outputs.loginServer
output logAnalyticsId string = base.outputs.logsId
output functionApp string = conf.function_app
output pipelineClientId string = pipeline.properties.clientId
output jobsIdentityId string = jobs.id
output endpointIdentityId string = endpoint.id
