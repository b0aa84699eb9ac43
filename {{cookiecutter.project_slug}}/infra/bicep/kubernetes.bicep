// A cluster that serves models, attached to the workspace; `az ml` deploys to it as to a managed endpoint.

@description('The environment: a file of conf/environments.')
param conf object

param logAnalyticsId string
param publicAccess string
param endpointIdentityId string

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: conf.workspace
}

resource cluster 'Microsoft.ContainerService/managedClusters@2025-05-01' = {
  name: 'aks-${conf.workspace}'
  location: conf.location
  tags: conf.tags
  sku: {
    name: 'Base'
    tier: 'Standard'
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    dnsPrefix: 'aks-${conf.workspace}'
    enableRBAC: true
    disableLocalAccounts: true
    aadProfile: {
      managed: true
      enableAzureRBAC: true
    }
    agentPoolProfiles: [
      {
        name: 'nodes'
        mode: 'System'
        type: 'VirtualMachineScaleSets'
        osType: 'Linux'
        osSKU: 'AzureLinux'
        vmSize: conf.compute.vm_size
        enableAutoScaling: true
        minCount: 1
        count: 1
        maxCount: conf.compute.max_nodes
        maxPods: 50
      }
    ]
    apiServerAccessProfile: {
      enablePrivateCluster: publicAccess == 'Disabled'
    }
    networkProfile: {
      networkPlugin: 'azure'
      networkPluginMode: 'overlay'
      networkDataplane: 'cilium'
      networkPolicy: 'cilium'
      loadBalancerSku: 'standard'
    }
    autoUpgradeProfile: {
      upgradeChannel: 'patch'
      nodeOSUpgradeChannel: 'NodeImage'
    }
    oidcIssuerProfile: {
      enabled: true
    }
    securityProfile: {
      workloadIdentity: {
        enabled: true
      }
    }
    addonProfiles: {
      azurepolicy: {
        enabled: true
      }
      omsagent: {
        enabled: true
        config: {
          logAnalyticsWorkspaceResourceID: logAnalyticsId
          useAADAuth: 'true'
        }
      }
    }
  }
}

// The certificate of the scoring address waits in the cluster, as the secret `scoring-tls` of the namespace azureml.
resource extension 'Microsoft.KubernetesConfiguration/extensions@2023-05-01' = {
  name: 'azureml'
  scope: cluster
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    extensionType: 'Microsoft.AzureML.Kubernetes'
    releaseTrain: 'stable'
    autoUpgradeMinorVersion: true
    scope: {
      cluster: {
        releaseNamespace: 'azureml'
      }
    }
    configurationSettings: {
      enableTraining: 'false'
      enableInference: 'true'
      inferenceRouterServiceType: 'LoadBalancer'
      internalLoadBalancerProvider: 'azure'
      sslSecret: 'scoring-tls'
      sslCname: '${conf.endpoint}.internal'
    }
  }
}

resource attached 'Microsoft.MachineLearningServices/workspaces/computes@2025-12-01' = {
  parent: workspace
  name: 'kubernetes'
  location: conf.location
  tags: conf.tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${endpointIdentityId}': {}
    }
  }
  properties: {
    computeType: 'Kubernetes'
    disableLocalAuth: true
    resourceId: cluster.id
    properties: {
      namespace: 'default'
      defaultInstanceType: 'small'
      instanceTypes: {
        small: {
          resources: {
            requests: {
              cpu: '500m'
              memory: '1Gi'
            }
            limits: {
              cpu: '1'
              memory: '2Gi'
            }
          }
        }
      }
    }
  }
  dependsOn: [
    extension
  ]
}
