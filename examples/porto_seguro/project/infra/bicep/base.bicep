// What the workspace rests on: logs, storage, vault and images. No keys, no passwords: who comes, comes with an identity.

@description('The environment: a file of conf/environments.')
param conf object

@allowed([
  'Enabled'
  'Disabled'
])
param publicAccess string

var networkAcls = {
  defaultAction: publicAccess == 'Enabled' ? 'Allow' : 'Deny'
  bypass: 'AzureServices'
}
// Functions keep their code in the third, their locks and keys in the last two; Event Grid puts there what nobody took.
var containers = [
  'inbox'
  'data'
  'scores'
  'functions'
  'dead-letters'
  'azure-webjobs-hosts'
  'azure-webjobs-secrets'
]

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: conf.log_analytics
  location: conf.location
  tags: conf.tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: conf.retention_days
    features: {
      disableLocalAuth: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: conf.application_insights
  location: conf.location
  tags: conf.tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    DisableLocalAuth: true
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: conf.storage_account
  location: conf.location
  tags: conf.tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_ZRS'
  }
  properties: {
    accessTier: 'Hot'
    isHnsEnabled: false // a workspace's own account may not be a data lake
    allowSharedKeyAccess: false
    isLocalUserEnabled: false
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    supportsHttpsTrafficOnly: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: publicAccess
    networkAcls: networkAcls
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: storage
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: 14
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [for name in containers: {
  parent: blobs
  name: name
  properties: {
    publicAccess: 'None'
  }
}]

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: conf.key_vault
  location: conf.location
  tags: conf.tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess
    networkAcls: networkAcls
  }
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: conf.container_registry
  location: conf.location
  tags: conf.tags
  sku: {
    name: publicAccess == 'Enabled' ? 'Standard' : 'Premium' // private endpoints are Premium's
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: publicAccess
    networkRuleBypassOptions: 'AzureServices'
  }
}

output logsId string = logs.id
output insightsId string = insights.id
output storageId string = storage.id
output vaultId string = vault.id
output registryId string = registry.id
output loginServer string = registry.properties.loginServer
