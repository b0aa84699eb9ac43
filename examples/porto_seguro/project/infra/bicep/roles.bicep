// Who may do what: the custom roles of infra/roles.json, who gets them, and what each identity may do.

@description('The environment: a file of conf/environments.')
param conf object

@description('Principal ids of the identities: jobs, endpoint, pipeline, events.')
param principals object

var customRoles = loadJsonContent('../roles.json')

var grants = loadJsonContent('../grants.json')
var builtIn = grants.built_in_roles
var scope = resourceGroup().id
var engineers = conf.groups.ml_engineer
// Azure refuses the same grant twice, so a team that is both gets it once.
var operators = conf.groups.operator == engineers ? '' : conf.groups.operator

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: conf.storage_account
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: storage
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [for grant in grants.containers: {
  parent: blobs
  name: grant.container
}]

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: conf.container_registry
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: conf.application_insights
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: conf.workspace
}

resource endpoint 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: conf.identities.endpoint
}

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = [for role in items(customRoles): {
  name: guid(scope, role.key)
  properties: {
    roleName: '${role.value.name} (${conf.workspace})'
    description: role.value.description
    type: 'CustomRole'
    permissions: [
      {
        actions: role.value.actions
        notActions: role.value.notActions
        dataActions: role.value.dataActions
        notDataActions: role.value.notDataActions
      }
    ]
    assignableScopes: [
      scope
    ]
  }
}]

resource people 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for group in filter(items(conf.groups), group => !empty(group.value)): {
  name: guid(scope, group.key, group.value)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', guid(scope, group.key))
    principalId: group.value
    principalType: 'Group'
    condition: grants.data_only
    conditionVersion: '2.0'
  }
  dependsOn: [
    definition
  ]
}]

resource custom 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for who in grants.custom_roles: {
  name: guid(scope, who, principals[who])
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', guid(scope, who))
    principalId: principals[who]
    principalType: 'ServicePrincipal'
    condition: grants.data_only
    conditionVersion: '2.0'
  }
  dependsOn: [
    definition
  ]
}]

// Not the code and keys of the function app: who could write these would act with its identity.
resource storageGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for grant in grants.storage: {
  name: guid(storage.id, principals[grant.who], grant.role)
  scope: storage
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
    condition: grant.data_only ? grants.data_only : null
    conditionVersion: grant.data_only ? '2.0' : null
  }
}]

// The function app owns what is its own, and nothing else of the account; CI puts retrain.json beside its code.
resource containerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (grant, index) in grants.containers: {
  name: guid(storage.id, principals[grant.who], grant.role, grant.container)
  scope: container[index]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
  }
}]

resource registryGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for grant in grants.registry: {
  name: guid(registry.id, principals[grant.who], grant.role)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
  }
}]

// Telemetry comes in by identity only.
resource insightsGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for grant in grants.application_insights: {
  name: guid(insights.id, principals[grant.who], grant.role)
  scope: insights
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
  }
}]

resource workspaceGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for grant in grants.workspace: {
  name: guid(workspace.id, principals[grant.who], grant.role)
  scope: workspace
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
  }
}]

// CI, engineers and operators may give an endpoint its identity, and no other one: Azure asks for it at every change.
resource identityGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for grant in grants.endpoint_identity: {
  name: guid(endpoint.id, principals[grant.who], grant.role)
  scope: endpoint
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn[grant.role])
    principalId: principals[grant.who]
    principalType: 'ServicePrincipal'
  }
}]

resource engineerGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(engineers)) {
  name: guid(endpoint.id, engineers, 'Managed Identity Operator')
  scope: endpoint
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn['Managed Identity Operator'])
    principalId: engineers
    principalType: 'Group'
  }
}

resource operatorGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operators)) {
  name: guid(endpoint.id, operators, 'operator')
  scope: endpoint
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn['Managed Identity Operator'])
    principalId: operators
    principalType: 'Group'
  }
}
