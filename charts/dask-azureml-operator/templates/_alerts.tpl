{{- /*
The alerts, as groups of a PrometheusRule without what all of them have: labels and runbook_url. What stands in quotes
with braces is for Prometheus to fill in. Alerts of a cluster keep no reason among their labels, as it changes while the
matter lasts: the description asks for the one of now.
*/}}
{{- define "alerts.groups" -}}
{{- $at := .Values.alerts.thresholds -}}
{{- $operator := .Values.alerts.selector | default (printf `namespace="%s"` .Release.Namespace) -}}
{{- $cluster := "{{ $labels.namespace }}/{{ $labels.name }}" -}}
- name: daskcluster.life
  rules:
    - alert: DaskClusterNotReady
      expr: |-
        max by (namespace, name) (daskcluster_condition_age_seconds{type="Ready"}) > {{ $at.notReadySeconds }}
        and on (namespace, name) daskcluster_status_condition{type="Ready",status!="True",reason!~"Deleting|DryRun|ObservedOnly"}
        unless on (namespace, name) daskcluster_status_condition{type="Stalled",status="True"}
      labels:
        severity: warning
      annotations:
        summary: DaskCluster {{ $cluster }} is not Ready
        description: 'DaskCluster {{ $cluster }} is not Ready for {{ "{{ humanizeDuration $value }}" }}: {{ include "alerts.reason" `type="Ready"` }}.'
    - alert: DaskClusterStalled
      expr: |-
        max by (namespace, name) (daskcluster_status_condition{type="Stalled",status="True"}) == 1
      for: 5m
      labels:
        severity: warning
      annotations:
        summary: DaskCluster {{ $cluster }} waits for somebody to change something
        description: 'DaskCluster {{ $cluster }} is Stalled, so that no retry mends it: {{ include "alerts.reason" `type="Stalled"` }}.'
    - alert: DaskClusterStartSlow
      expr: |-
        (
          max by (namespace, name) (daskcluster_condition_age_seconds{type="Ready"})
          and on (namespace, name) daskcluster_status_condition{type="Ready",reason=~"Pending|Progressing|Provisioning|Starting|WaitingForNodes|WorkersStarting"}
        )
        > {{ $at.startSlowFactor }} * scalar(histogram_quantile(0.95, sum by (le) (increase(dask_azureml_stage_duration_seconds_bucket{ {{- $operator -}} ,stage="ready"}[1w]))))
        and on () sum(increase(dask_azureml_stage_duration_seconds_count{ {{- $operator -}} ,stage="ready"}[1w])) >= {{ $at.startsToCompare }}
      labels:
        severity: info
      annotations:
        summary: DaskCluster {{ $cluster }} starts slower than others did
        description: 'DaskCluster {{ $cluster }} is starting for {{ "{{ humanizeDuration $value }}" }}, longer than {{ $at.startSlowFactor }} times the 95th percentile of the starts of a week: {{ include "alerts.reason" `type="Ready"` }}.'
    - alert: DaskClusterSchedulerUnreachable
      expr: |-
        max by (namespace, name) (daskcluster_status_condition{type="SchedulerReady",reason=~"SchedulerUnreachable|SchedulerUntrusted|SchedulerLost|TokenLost"}) == 1
      for: {{ $at.schedulerUnreachableFor }}
      labels:
        severity: warning
      annotations:
        summary: The scheduler of DaskCluster {{ $cluster }} cannot be reached
        description: 'The operator cannot use the scheduler of DaskCluster {{ $cluster }}: {{ include "alerts.reason" `type="SchedulerReady"` }}.'
    - alert: DaskClusterDeletionStuck
      expr: |-
        max by (namespace, name) (daskcluster_deletion_age_seconds) > {{ $at.deletionSeconds }}
      labels:
        severity: warning
      annotations:
        summary: DaskCluster {{ $cluster }} is being deleted and does not go
        description: 'The deletion of DaskCluster {{ $cluster }} was asked for {{ "{{ humanizeDuration $value }}" }} ago: {{ include "alerts.reason" `type="Ready"` }}. What is left of it in Azure may cost money.'
    - alert: DaskClusterCredentialsRefused
      expr: |-
        max by (namespace, name) (daskcluster_status_condition{reason=~"CredentialsRefused|CredentialsMissing"}) == 1
      for: {{ $at.credentialsRefusedFor }}
      labels:
        severity: critical
      annotations:
        summary: DaskCluster {{ $cluster }} has no credentials that Azure takes
        description: 'Nothing is done for DaskCluster {{ $cluster }} in Azure, its deletion neither: {{ include "alerts.reason" `reason=~"CredentialsRefused|CredentialsMissing"` }}.'
- name: daskcluster.nodes
  rules:
    - alert: DaskClusterWorkersMissing
      expr: |-
        max by (namespace, name) (daskcluster_workers{state="pending"}) > 0
      for: {{ $at.workersMissingFor }}
      labels:
        severity: warning
      annotations:
        summary: DaskCluster {{ $cluster }} has fewer workers than wanted
        description: '{{ "{{ $value }}" }} workers of DaskCluster {{ $cluster }} are missing: {{ include "alerts.reason" `type="WorkersReady"` }}.'
    - alert: DaskClusterNodesUnusable
      expr: |-
        max by (namespace, name) (daskcluster_nodes{state="unusable"}) > 0
      for: {{ $at.nodesUnusableFor }}
      labels:
        severity: warning
      annotations:
        summary: DaskCluster {{ $cluster }} has unusable nodes
        description: '{{ "{{ $value }}" }} nodes in the pools of DaskCluster {{ $cluster }} are unusable: they cost money and work for nobody. The pool''s condition says {{ include "alerts.reason" `type="ComputeReady"` }}.'
    - alert: DaskClusterPreempted
      expr: |-
        sum by (namespace, name) (avg_over_time(daskcluster_nodes{state="preempted"}[1h]))
        / sum by (namespace, name) (avg_over_time(daskcluster_nodes{state!="own"}[1h])) > {{ $at.preemptedShare }}
      labels:
        severity: info
      annotations:
        summary: Azure keeps taking the nodes of DaskCluster {{ $cluster }}
        description: 'Over the last hour {{ "{{ humanizePercentage $value }}" }} of the nodes of DaskCluster {{ $cluster }} were preempted. Its workers are told as {{ include "alerts.reason" `type="WorkersReady"` }}.'
    - alert: DaskClusterQuotaRefused
      expr: |-
        max by (namespace, name) (daskcluster_status_condition{reason=~"QuotaExceeded|NoCapacity|SubnetFull"}) == 1
      for: {{ $at.quotaRefusedFor }}
      labels:
        severity: warning
      annotations:
        summary: Azure has no room for DaskCluster {{ $cluster }}
        description: 'DaskCluster {{ $cluster }} does not get the nodes that it wants: {{ include "alerts.reason" `reason=~"QuotaExceeded|NoCapacity|SubnetFull"` }}.'
- name: daskcluster.money
  rules:
    - alert: DaskClusterIdleSpend
      expr: |-
        max by (namespace, name, currency) (daskcluster_hourly_cost) > {{ $at.idleHourlyCost }}
        and on (namespace, name) max by (namespace, name) (daskcluster_idle_seconds) > {{ $at.idleSeconds }}
      labels:
        severity: info
      annotations:
        summary: DaskCluster {{ $cluster }} costs money and has nothing to do
        description: 'DaskCluster {{ $cluster }} has had nothing to do for longer than {{ $at.idleSeconds }} s, at {{ "{{ printf \"%.2f\" $value }} {{ $labels.currency }}" }} an hour by list prices. Its state: {{ include "alerts.reason" `type="Ready"` }}.'
    - alert: DaskClusterBudgetClose
      expr: |-
        max by (namespace, name) (daskcluster_accrued_cost)
        / max by (namespace, name) (daskcluster_budget_limit) > {{ $at.budgetShare }}
      labels:
        severity: warning
      annotations:
        summary: The budget of DaskCluster {{ $cluster }} is nearly spent
        description: 'DaskCluster {{ $cluster }} has spent {{ "{{ humanizePercentage $value }}" }} of spec.budget.maxTotal by list prices. Its state: {{ include "alerts.reason" `type="Ready"` }}.'
    - alert: AzureOrphansCost
      expr: |-
        max by (kind) (dask_azureml_orphans_hourly_cost{ {{- $operator -}} }) > {{ $at.orphansHourlyCost }}
      for: {{ $at.orphansFor }}
      labels:
        severity: warning
      annotations:
        summary: What no DaskCluster owns costs money in Azure
        description: 'Resources of the kind {{ "{{ $labels.kind }}" }} carry the tags of DaskClusters that are gone, and cost {{ "{{ printf \"%.2f\" $value }}" }} an hour by list prices. Their events have the reason Orphaned.'
- name: dask-azureml-operator
  rules:
    - alert: DaskOperatorDown
      expr: |-
        absent(dask_azureml_build_info{ {{- $operator -}} })
      for: {{ $at.operatorDownFor }}
      labels:
        severity: critical
      annotations:
        summary: No replica of the operator answers Prometheus
        description: 'No replica of the operator has answered for {{ $at.operatorDownFor }}. Clusters go on running and costing; nobody starts, scales, stops or deletes them.'
    - alert: DaskOperatorNoLeader
      expr: |-
        max(dask_azureml_leader{ {{- $operator -}} }) == 0
      for: {{ $at.noLeaderFor }}
      labels:
        severity: critical
      annotations:
        summary: No replica of the operator leads
        description: 'Replicas of the operator run, and none of them has had the Lease for {{ $at.noLeaderFor }}: nothing is done for any DaskCluster.'
    - alert: DaskOperatorBacklog
      expr: |-
        max(dask_azureml_oldest_unreconciled_seconds{ {{- $operator -}} }) > {{ $at.backlogSeconds }}
      for: 1m
      labels:
        severity: warning
      annotations:
        summary: DaskClusters wait for the operator to look at them
        description: 'The DaskCluster that has waited longest for its reconcile waits for {{ "{{ humanizeDuration $value }}" }}.'
    - alert: DaskOperatorInventoryStale
      expr: |-
        max(dask_azureml_inventory_age_seconds{ {{- $operator -}} }) > {{ $at.inventoryAgeSeconds }}
      for: 1m
      labels:
        severity: warning
      annotations:
        summary: The operator has not seen Azure for long
        description: 'What the operator knows of Azure is {{ "{{ humanizeDuration $value }}" }} old for some DaskClusters: what happens there is not noticed.'
    - alert: AzureThrottled
      expr: |-
        sum by (operation) (increase(dask_azureml_azure_throttles_total{ {{- $operator -}} }[15m])) > {{ $at.throttlesPer15m }}
      labels:
        severity: warning
      annotations:
        summary: Azure refuses the operator's requests, as they are too many
        description: 'Azure has refused {{ "{{ printf \"%.0f\" $value }} {{ $labels.operation }}" }} within 15 minutes. Clusters that wait for them have the reason Throttled or WaitingForBudget.'
    - alert: AzureDriftReturns
      expr: |-
        sum by (kind, field) (increase(dask_azureml_drift_total{ {{- $operator -}} }[6h])) >= {{ $at.driftsPer6h }}
      labels:
        severity: warning
      annotations:
        summary: Somebody keeps changing in Azure what a DaskCluster says
        description: '{{ "{{ $labels.field }} of {{ $labels.kind }} was changed in Azure {{ printf \"%.0f\" $value }}" }} times within 6 hours. The events of the cluster name it.'
{{- end }}

{{- /* The reason of the condition that the matchers find, for Prometheus to fill in. Inside single quotes of YAML. */}}
{{- define "alerts.reason" -}}
{{ printf "{{ with printf `daskcluster_status_condition{namespace=%%q,name=%%q,%s}` $labels.namespace $labels.name | query }}{{ . | first | label `reason` }}{{ else }}no reason is told{{ end }}" . }}
{{- end }}
