// A private network: what is inside reaches the workspace and its storage, vault and registry, and nobody else does.

@description('The environment: a file of conf/environments.')
param conf object

@description('Resource ids of what gets a private endpoint: workspace, storage, vault, registry.')
param targets object

var storageSuffix = environment().suffixes.storage
var zoneNames = {
  api: 'privatelink.api.azureml.ms'
  notebooks: 'privatelink.notebooks.azure.net'
  blob: 'privatelink.blob.${storageSuffix}'
  file: 'privatelink.file.${storageSuffix}'
  queue: 'privatelink.queue.${storageSuffix}'
  table: 'privatelink.table.${storageSuffix}'
  vault: 'privatelink.vaultcore.azure.net'
  registry: 'privatelink${environment().suffixes.acrLoginServer}'
}
// Batch scoring keeps its books in queues and tables; notebooks live in a file share.
var entries = [
  { name: 'workspace', target: targets.workspace, group: 'amlworkspace', zones: ['api', 'notebooks'] }
  { name: 'blob', target: targets.storage, group: 'blob', zones: ['blob'] }
  { name: 'file', target: targets.storage, group: 'file', zones: ['file'] }
  { name: 'queue', target: targets.storage, group: 'queue', zones: ['queue'] }
  { name: 'table', target: targets.storage, group: 'table', zones: ['table'] }
  { name: 'vault', target: targets.vault, group: 'vault', zones: ['vault'] }
  { name: 'registry', target: targets.registry, group: 'registry', zones: ['registry'] }
]

// Nothing from outside may begin a conversation.
resource guard 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-${conf.workspace}'
  location: conf.location
  tags: conf.tags
  properties: {
    securityRules: [
      {
        name: 'no-internet-in'
        properties: {
          priority: 4000
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: 'vnet-${conf.workspace}'
  location: conf.location
  tags: conf.tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        '10.20.0.0/16'
      ]
    }
    subnets: [
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.20.0.0/24'
          privateEndpointNetworkPolicies: 'Enabled'
          networkSecurityGroup: {
            id: guard.id
          }
        }
      }
      {
        name: 'functions'
        properties: {
          addressPrefix: '10.20.1.0/24'
          networkSecurityGroup: {
            id: guard.id
          }
          delegations: [
            {
              name: 'functions'
              properties: {
                serviceName: 'Microsoft.App/environments' // what Flex Consumption runs on
              }
            }
          ]
        }
      }
    ]
  }
}

resource endpointSubnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' existing = {
  parent: network
  name: 'endpoints'
}

resource functionSubnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' existing = {
  parent: network
  name: 'functions'
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [for item in items(zoneNames): {
  name: item.value
  location: 'global'
  tags: conf.tags
}]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (item, index) in items(zoneNames): {
  parent: zone[index]
  name: 'vnet-${conf.workspace}'
  location: 'global'
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: network.id
    }
  }
}]

resource entry 'Microsoft.Network/privateEndpoints@2025-05-01' = [for item in entries: {
  name: 'pep-${conf.workspace}-${item.name}'
  location: conf.location
  tags: conf.tags
  properties: {
    subnet: {
      id: endpointSubnet.id
    }
    privateLinkServiceConnections: [
      {
        name: item.name
        properties: {
          privateLinkServiceId: item.target
          groupIds: [
            item.group
          ]
        }
      }
    ]
  }
}]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [for (item, index) in entries: {
  parent: entry[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: map(item.zones, key => {
      name: key
      properties: {
        privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zoneNames[key])
      }
    })
  }
  dependsOn: [
    zone
  ]
}]

output functionSubnetId string = functionSubnet.id
