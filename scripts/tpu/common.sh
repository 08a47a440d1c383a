# What the scripts of this folder share: the slice, its place, and how a command is run. Sourced, not run.
#
#   NAME      of the slice (selfprog)              PROJECT   of Google Cloud (gcloud's own)
#   SLICE     v4_8, v5e_64, ... as in gin/slices   ZONE      of the slice (gcloud's own)
#   RUN_DIR   a folder that all workers see        DRY_RUN=1 prints every command and runs none
#             (gs://BUCKET/..., or Filestore mounted on all of them)
#
# `create`, `stage`, `launch` and `keep` save these under their NAME, so that they need not be given again.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
NAME="${NAME:-selfprog}"
notes="${XDG_STATE_HOME:-$HOME/.local/state}/selfprog/$NAME"

say() { echo "tpu: $*" >&2; }

# Sets what is not set from what was saved: lines of VARIABLE=value.
recall() {
  local variable value
  [[ -f "$notes" ]] || return 0
  while IFS='=' read -r variable value; do
    [[ -n "${!variable:-}" ]] || printf -v "$variable" '%s' "$value"
  done <"$notes"
}

remember() {
  local variable
  [[ -z "${DRY_RUN:-}" ]] || return 0
  mkdir -p "$(dirname "$notes")"
  for variable in SLICE ZONE PROJECT RUN_DIR; do
    [[ -z "${!variable:-}" ]] || echo "$variable=${!variable}"
  done >"$notes.tmp"
  mv "$notes.tmp" "$notes"
}

recall
SLICE="${SLICE:-v5e_64}"
place=(${PROJECT:+--project="$PROJECT"} ${ZONE:+--zone="$ZONE"})

# Prints a command as one could type it, then runs it.
run() {
  printf '+' >&2
  printf ' %q' "$@" >&2
  printf '\n' >&2
  [[ -n "${DRY_RUN:-}" ]] || "$@"
}

# on WORKER COMMAND: runs a shell command on one worker of the slice, or on `all`.
on() {
  run gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker="$1" --command="$2"
}

# The accelerator type and the software version of a slice. Refuses slices without a gin file.
accelerator() {
  if [[ ! -f "$root/gin/slices/$SLICE.gin" ]]; then
    say "error: SLICE=$SLICE: no such slice; there are: $(cd "$root/gin/slices" && echo v*.gin | sed 's/\.gin//g')"
    exit 2
  fi
  case "$SLICE" in
    *_x*)
      say "error: SLICE=$SLICE: several slices are launched as a JobSet; see scripts/tpu/jobset.yaml, replicas"
      exit 2
      ;;
    v4_*) echo "v4-${SLICE#v4_}" tpu-ubuntu2204-base ;;
    v5e_*) echo "v5litepod-${SLICE#v5e_}" v2-alpha-tpuv5-lite ;;
    v5p_*) echo "v5p-${SLICE#v5p_}" v2-alpha-tpuv5 ;;
    v6e_*) echo "v6e-${SLICE#v6e_}" v2-alpha-tpuv6e ;;
    *)
      say "error: SLICE=$SLICE: a machine, but not a slice of Cloud TPU"
      exit 2
      ;;
  esac
}

# Where `stage` puts what a run reads: beside the run, so that whoever restarts the run finds it.
staged() { echo "$RUN_DIR.staged"; }

# The files and folders that a run reads and the tree lacks: scripts/tpu/needs.py, with `selfprog run`'s flags.
needs() {
  local python="${SELFPROG_VENV:-$root/.venv}/bin/python"
  [[ -x "$python" ]] || { say "error: $python is not there: run scripts/setup first"; exit 2; }
  "$python" "$here/needs.py" "$@"
}

needs_gcloud() {
  [[ -n "${DRY_RUN:-}" ]] || command -v gcloud >/dev/null || {
    say "error: gcloud is not installed; see https://cloud.google.com/sdk/docs/install, or DRY_RUN=1 to see the commands"
    exit 2
  }
}
needs_gcloud

usage() {
  sed -n '2,/^set /p' "$0" | sed '/^set /d; s/^# \{0,1\}//'
}
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  usage
  exit 0
fi
