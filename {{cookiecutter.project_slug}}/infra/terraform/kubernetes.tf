# A cluster that serves models, attached to the workspace; `az ml` deploys to it as to a managed endpoint.

resource "azurerm_kubernetes_cluster" "this" {
  name                              = "aks-${local.conf.workspace}"
  resource_group_name               = data.azurerm_resource_group.this.name
  location                          = local.conf.location
  tags                              = local.conf.tags
  sku_tier                          = "Standard"
  dns_prefix                        = "aks-${local.conf.workspace}"
  role_based_access_control_enabled = true
  local_account_disabled            = true
  private_cluster_enabled           = !local.public
  automatic_upgrade_channel         = "patch"
  node_os_upgrade_channel           = "NodeImage"
  oidc_issuer_enabled               = true
  workload_identity_enabled         = true
  azure_policy_enabled              = true

  identity {
    type = "SystemAssigned"
  }
  azure_active_directory_role_based_access_control {
    azure_rbac_enabled = true
  }
  default_node_pool {
    name                 = "nodes"
    type                 = "VirtualMachineScaleSets"
    os_sku               = "AzureLinux"
    vm_size              = local.conf.compute.vm_size
    auto_scaling_enabled = true
    min_count            = 1
    max_count            = local.conf.compute.max_nodes
    max_pods             = 50
  }
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium"
    load_balancer_sku   = "standard"
  }
  oms_agent {
    log_analytics_workspace_id      = azurerm_log_analytics_workspace.this.id
    msi_auth_for_monitoring_enabled = true
  }
}

# The certificate of the scoring address waits in the cluster, as the secret `scoring-tls` of the namespace azureml.
resource "azurerm_kubernetes_cluster_extension" "azureml" {
  name              = "azureml"
  cluster_id        = azurerm_kubernetes_cluster.this.id
  extension_type    = "Microsoft.AzureML.Kubernetes"
  release_train     = "stable"
  release_namespace = "azureml"

  configuration_settings = {
    enableTraining               = "false"
    enableInference              = "true"
    inferenceRouterServiceType   = "LoadBalancer"
    internalLoadBalancerProvider = "azure"
    sslSecret                    = "scoring-tls"
    sslCname                     = "${local.conf.endpoint}.internal"
  }
}

# By azapi, for azurerm attaches a cluster in the way of version 1 only.
resource "azapi_resource" "kubernetes" {
  type      = "Microsoft.MachineLearningServices/workspaces/computes@2025-12-01"
  name      = "kubernetes"
  parent_id = azapi_resource.workspace.id
  location  = local.conf.location
  tags      = local.conf.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["endpoint"].id]
  }

  body = {
    properties = {
      computeType      = "Kubernetes"
      disableLocalAuth = true
      resourceId       = azurerm_kubernetes_cluster.this.id
      properties = {
        namespace           = "default"
        defaultInstanceType = "small"
        instanceTypes = {
          small = {
            resources = {
              requests = { cpu = "500m", memory = "1Gi" }
              limits   = { cpu = "1", memory = "2Gi" }
            }
          }
        }
      }
    }
  }

  depends_on = [azurerm_kubernetes_cluster_extension.azureml]
}
