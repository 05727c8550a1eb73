#!/usr/bin/env bash
#
# Post a model's test_payload.json to its endpoint and print the answer.
#
# Usage: ./test_endpoint.sh [MODEL_NAME]
#
# Without MODEL_NAME it takes the only model and the test_payload.json next to this script.

set -euo pipefail

fail() {
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

need() {
  command -v "$1" > /dev/null || fail "\`$1\` is not on the PATH" "$2"
}

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

case "${1-}" in
  -h | --help)
    echo "Usage: ./test_endpoint.sh [MODEL_NAME]"
    exit 0
    ;;
  -n | --name) shift ;; # as the tasks have it
  --name=*) set -- "${1#--name=}" "${@:2}" ;;
  -*) fail "\`$1\` is not an option" "Run \`./test_endpoint.sh [MODEL_NAME]\`" ;;
esac
if [ "$#" -gt 1 ]; then
  fail "One model name at most, but there are $# arguments" "Run \`./test_endpoint.sh [MODEL_NAME]\`"
fi

need invoke "Activate the virtual environment, \`source .venv/bin/activate\`, or install: \`pip install -r requirements.txt\`"
need curl "Install curl, or run \`invoke model.predict --file test_payload.json\`"

if [ "$#" -eq 1 ]; then
  payload="models/$1/test_payload.json"
  [ -d "models/$1" ] || fail "There is no model \`$1\`: models/$1 does not exist" "\`invoke model.list\` shows the models"
  [ -f "$payload" ] || fail "$payload does not exist" "Write it as {\"instances\": [...]}"
  url="$(invoke model.get-endpoint --name "$1" --url)"
else
  payload="test_payload.json"
  [ -f "$payload" ] || fail "$payload does not exist" "Give a model's name: \`./test_endpoint.sh MODEL_NAME\`"
  url="$(invoke model.get-endpoint --url)"
fi

# An endpoint whose model has scaled to zero answers so, and starts it (scale_to_zero in edge.yaml).
starting="Model is not yet ready for inference"
patience=900 # seconds

post() {
  # Its option for this, to fail and print the body, is newer than the curl of Debian 11.
  curl --silent --show-error --write-out '\n%{http_code}' --connect-timeout 10 --max-time 120 \
    --header "Content-Type: application/json" --data "@$payload" "$@" "$url"
}

ask() {
  answer=""
  status=0
  case "$url" in
    https://*)
      need gcloud "Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install"
      token="$(gcloud auth print-access-token)" || fail "gcloud gave no access token" "Run \`gcloud auth login\`"
      # The token goes through standard input: a command line can be read by everybody on the machine.
      answer="$(printf 'Authorization: Bearer %s\n' "$token" | post --header @-)" || status=$?
      ;;
    http://*) # the emulator on this machine: no token, no proxy
      answer="$(post --noproxy '*')" || status=$?
      ;;
    *) fail "\`invoke model.get-endpoint --url\` gave \`$url\`, which is not a URL" "Deploy the model first: \`invoke model.deploy\`" ;;
  esac
  code="${answer##*$'\n'}"
  answer="${answer%$'\n'*}"
}

ask
if [ "$code" = 429 ] && [[ $answer == *"$starting"* ]]; then
  echo "> the model has scaled to zero, and starts now: waiting for it" >&2
  SECONDS=0
  pause=1
  while [ "$code" = 429 ] && [[ $answer == *"$starting"* ]] && [ "$SECONDS" -lt "$patience" ]; do
    sleep "$pause"
    pause=$((pause < 15 ? pause + 1 : 15))
    ask
  done
fi
if [ "$status" -eq 0 ] && [ "$code" -ge 400 ]; then
  printf '%s\n' "$answer" >&2
  [ "$code" -ne 400 ] || fail "The endpoint refused $payload" "Write into it what the model takes; \`invoke model.predict --file FILE\` tries another file"
  fail "No predictions from $url: it answered $code" "\`invoke model.list\` shows what is deployed; \`invoke local.status\` shows the emulator"
fi
if [ "$status" -ne 0 ]; then
  printf '%s\n' "$answer" >&2
  fail "No predictions from $url (curl ended with $status)" "\`invoke model.list\` shows what is deployed; \`invoke local.status\` shows the emulator"
fi
printf '%s\n' "$answer"
