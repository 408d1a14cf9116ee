#!/usr/bin/env bash
# Resolve what the server's image is made of: requirements.lock with hashes, sbom.json, and docs/licences.md.
# Versions come from constraints.txt; torch, whose build depends on the device, is pinned there and has no hash.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet pip-tools cyclonedx-bom pip-licenses
"$work/tools/bin/pip-compile" --quiet --generate-hashes --strip-extras --no-annotate --no-header \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --unsafe-package torch --unsafe-package setuptools \
  --extra server --extra encryption --extra large --constraint deploy/constraints.txt \
  --output-file "$work/requirements.lock" pyproject.toml
grep -v '^#' "$work/requirements.lock" > deploy/requirements.lock

# As the Dockerfile does it.
python3 -m venv "$work/image"
"$work/image/bin/pip" install --quiet --require-hashes --no-deps -r deploy/requirements.lock
"$work/image/bin/pip" install --quiet --constraint deploy/constraints.txt torch
"$work/image/bin/pip" install --quiet --no-deps .
"$work/image/bin/pip" check

"$work/tools/bin/cyclonedx-py" environment "$work/image/bin/python" --spec-version 1.6 --output-reproducible \
  --output-file "$work/sbom.json"
# Without home pages, and where packages were fetched from here.
python3 - "$work/sbom.json" > deploy/sbom.json <<'END'
import json, sys

bill = json.load(open(sys.argv[1]))
for component in bill["components"] + bill["metadata"]["tools"]["components"]:
    component.pop("externalReferences", None)
print(json.dumps(bill, indent=1))
END
{
  printf '# Licences\n\nOf everything in the server'"'"'s image, as the packages state them; made by `deploy/lock.sh`.\n\n'
  "$work/tools/bin/pip-licenses" --python "$work/image/bin/python" --from mixed --format markdown \
    --ignore-packages hermes-stream pip setuptools
} > docs/licences.md
