#!/bin/bash
# Prints the chart as helm renders it with its defaults, namespace included, for those who install without helm. The
# image is the argument: REPOSITORY:TAG or REPOSITORY@DIGEST.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
image=$1 namespace=dask-azureml-operator
case $image in
  *@*) named=(--set "image.repository=${image%@*}" --set-string "image.digest=${image#*@}") ;;
  *) named=(--set "image.repository=${image%:*}" --set-string "image.tag=${image##*:}") ;;
esac
helm=$(PYTHONPATH=tests python3 -m line go-tools | sed -n 1p)
cat <<NAMESPACE
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    pod-security.kubernetes.io/enforce: restricted
NAMESPACE
# The label says who manages it, and that is not helm.
"$helm" template dask-azureml-operator charts/dask-azureml-operator --namespace "$namespace" "${named[@]}" \
  | sed 's|app.kubernetes.io/managed-by: Helm|app.kubernetes.io/managed-by: dask-azureml-operator|'
