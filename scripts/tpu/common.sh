# What the scripts of this folder share: the slice, its place, and how a command is run. Sourced, not run.
#
#   NAME      of the slice (selfprog)              PROJECT   of Google Cloud (gcloud's own)
#   SLICE     v4_8, v5e_64, ... as in gin/slices   ZONE      of the slice (gcloud's own)
#   RUN_DIR   a folder that all workers see        DRY_RUN=1 prints every command and runs none
#             (gs://BUCKET/..., or Filestore mounted on all of them)
#
# `create`, `stage`, `launch` and `keep` save these under their NAME, so that they need not be given again.
set -euo pipefail

say() { echo "tpu: $*" >&2; }

usage() {
  sed -n '2,/^set /p' "$0" | sed '/^set /d; s/^# \{0,1\}//'
}
for argument in "$@"; do
  if [[ "$argument" == --help || "$argument" == -h ]]; then
    usage
    exit 0
  fi
done
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  say "error: these scripts need bash 4.4, and this is $BASH_VERSION (on macOS: brew install bash)"
  exit 2
fi

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd -P)"
NAME="${NAME:-selfprog}"
if [[ ! "$NAME" =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]]; then
  say "error: NAME=$NAME: Google wants lower-case letters, digits and hyphens, a letter first, 40 at most"
  exit 2
fi
notes="${XDG_STATE_HOME:-$HOME/.local/state}/selfprog/$NAME"

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
SLICE="${SLICE//-/_}"
if [[ -n "${RUN_DIR:-}" ]]; then
  while [[ "$RUN_DIR" == ?*[^/:]/ ]]; do RUN_DIR="${RUN_DIR%/}"; done # what lies beside it is named after it
  if [[ ! "$RUN_DIR" =~ ^(/.*[^/]|gs://[^/]+/.*[^/])$ ]]; then
    say "error: RUN_DIR=$RUN_DIR: give a folder in a bucket, gs://BUCKET/..., or /a/folder that all workers see"
    exit 2
  fi
fi
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

# described KIND FIELD: a field of the slice (tpu-vm) or of its request (queued-resources); ABSENT where there is none.
# Fails where Google gives no answer, and shows what it says instead.
described() {
  local said status=0
  said="$(mktemp)"
  gcloud compute tpus "$1" describe "$NAME" "${place[@]}" --format="value($2)" 2>"$said" || status=$?
  if [[ $status != 0 ]] && grep -q NOT_FOUND "$said"; then
    echo ABSENT
    status=0
  elif [[ $status != 0 ]]; then
    cat "$said" >&2
  fi
  rm -f "$said"
  return "$status"
}

# The accelerator type and the software version of a slice. Refuses slices without a gin file.
accelerator() {
  if [[ ! -f "$root/gin/slices/$SLICE.gin" ]]; then
    say "error: SLICE=$SLICE: no such slice; there are: $(cd "$root/gin/slices" && echo {v,tpu7x_}*.gin | sed 's/\.gin//g')"
    exit 2
  fi
  case "$SLICE" in
    *_x*)
      say "error: SLICE=$SLICE: several slices are launched as a JobSet: scripts/tpu/manifest.py --slice=$SLICE prints it"
      exit 2
      ;;
    tpu7x_*)
      say "error: SLICE=$SLICE: Cloud TPU's own interface has no TPU7x; it is launched on GKE: scripts/tpu/manifest.py --slice=$SLICE"
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

# Whether the slice was requested before. Refuses one that was not requested from here as this type: it may be somebody
# else's, whose run `launch` would end.
is_requested() {
  local state there type
  [[ -z "${DRY_RUN:-}" ]] || return 1
  type="$(accelerator)" || exit 2
  state="$(described queued-resources state.state)" || exit 1
  [[ "$state" != ABSENT ]] || return 1
  there="$(described queued-resources 'tpu.nodeSpec[0].node.acceleratorType')" || exit 1
  if [[ "$there" != "${type% *}" || ! -f "$notes.requested" ]]; then
    say "error: a $there called $NAME is there already ($state), and was not requested from here as ${type% *}:"
    say "choose another NAME; if it is yours, scripts/tpu/delete takes it away, and touch $notes.requested adopts it"
    exit 2
  fi
  say "$NAME is requested already"
}

# Where `stage` puts what a run reads: beside the run, so that whoever restarts the run finds it.
staged() { echo "$RUN_DIR.staged"; }

# Two slices would write over each other in one run directory, so RUN_DIR.owner in its bucket says whose it is: from
# `launch` on, until `stop` or `delete`. It is written only where there is none, or in place of the one that was read, so
# of several that ask at the same moment one gets it.
own() {
  local mine there try version note status=0
  [[ "$RUN_DIR" == gs://* ]] || return 0
  mine="$(myself)"
  note="$(mktemp)"
  echo "$mine" >"$note"
  for try in 1 2 3; do
    there='' version=''
    if [[ -z "${DRY_RUN:-}" ]]; then
      [[ -z "${TAKE_OVER:-}" ]] ||
        version="$(gcloud storage objects describe "$RUN_DIR.owner" --format='value(generation)' 2>/dev/null)" || true
      there="$(gcloud storage cat "$RUN_DIR.owner" 2>/dev/null)" || true
    fi
    [[ "$there" != "$mine" ]] || { status=0 && break; }
    if [[ -n "$there" && ("$try" != 1 || -z "${TAKE_OVER:-}") ]]; then
      say "error: RUN_DIR=$RUN_DIR: $there writes there. Stop it there, or choose another folder;"
      say "if nothing runs on it any more: TAKE_OVER=1 with the same command"
      rm -f "$note"
      exit 2
    fi
    status=0
    run gcloud storage cp --if-generation-match="${version:-0}" "$note" "$RUN_DIR.owner" || status=$?
    [[ $status != 0 ]] || break
    sleep "${POLL_S:-5}" # somebody else was faster, which the next look shows, or Google did not answer
  done
  rm -f "$note"
  [[ $status == 0 ]] || say "error: $RUN_DIR.owner cannot be written (see above)"
  return "$status"
}

# Whose slice this is. One NAME may stand in two zones.
myself() { echo "slice $NAME${ZONE:+ in $ZONE}${PROJECT:+ of project $PROJECT} of $(id -un)"; }

disown_run() {
  [[ "${RUN_DIR:-}" == gs://* && -z "${DRY_RUN:-}" ]] || return 0
  [[ "$(gcloud storage cat "$RUN_DIR.owner" 2>/dev/null)" != "$(myself)" ]] ||
    gcloud storage rm --quiet "$RUN_DIR.owner" 2>/dev/null || true # it only makes the next one ask
}

# Sets `flags` to these, with gin files of the tree named as they are found from any folder, on the workers too.
name_gin_files() {
  local file
  flags=()
  while [[ $# -gt 0 ]]; do
    case "$1" in
      --gin_file=*) file="${1#*=}" ;;
      --gin_file)
        [[ $# -gt 1 ]] || { flags+=("$1") && return; } # which `needs` refuses
        file="$2" && shift
        ;;
      *) flags+=("$1") && shift && continue ;;
    esac
    [[ ! -f "${file%.gin}.gin" ]] || file="$(realpath "${file%.gin}.gin")"
    flags+=("--gin_file=${file#"$root/"}")
    shift
  done
}

# tree_files PART...: the files of these parts of the tree as it is, a line each, without what git ignores.
tree_files() {
  local found
  found="$(git -C "$root" ls-files -z --cached --others --exclude-standard -- "$@" 2>/dev/null |
    (cd "$root" && xargs -0 ls -d 2>/dev/null))" || true # some may be deleted
  # A tree that was copied here without its repository:
  [[ -n "$found" ]] || found="$(cd "$root" && find "$@" -type f -not -path '*/__pycache__/*')"
  echo "$found"
}

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
