#!/usr/bin/env bash
# Checks and measures this machine's GPU: cuDNN's attention against plain attention, the speed of decoding
# and training.
#
#   scripts/gpu_check.sh                          125M, 1.3B and 2.7B in bfloat16; JSON lines into results/gpu/
#   PEER_PYTHON=/env/bin/python scripts/gpu_check.sh      also that environment's torch and transformers
#   VLLM_PYTHON=/env/bin/python scripts/gpu_check.sh      and vLLM in that one (scripts/measure/vllm_peer.py)
#   DEVICE=cpu SIZES=tiny PROMPT=64 NEW=8 ATTEMPTS=8 SEQ=128 STEPS=1 scripts/gpu_check.sh    tries the script anywhere
#
# Decoding: 128 rows at one prompt; its share of the memory bandwidth counts each byte that a step must read once.
# Training: AdamW on float32 weights, bfloat16 products; MFU counts 6 FLOPs a weight and token and causal attention.
# A measurement that fails (out of memory, say) is reported, and the others go on; the status is then 1.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
python="${SELFPROG_VENV:-$root/.venv}/bin/python"
device="${DEVICE:-cuda}"
attention="${ATTENTION:-$([[ "$device" == cuda ]] && echo cudnn || echo plain)}"
peer="${PEER:-$root/../shared/bench/hf_peer.py}"
out="${OUT:-results/gpu/$(date -u +%Y%m%d_%H%M%S).jsonl}"
prompt="${PROMPT:-512}" new="${NEW:-64}" attempts="${ATTEMPTS:-512}" batch="${BATCH:-128}" seq="${SEQ:-1024}"
export JAX_PLATFORMS="$device" XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.95}"
mkdir -p "$(dirname "$out")"
errors="$(mktemp)"
trap 'rm -f "$errors"' EXIT
status=0

# Runs a command, keeps its last line, and says what failed.
measure() {
  local line
  echo "gpu_check: $*" >&2
  if line="$("$@" 2>"$errors" | tail -n 1)" && [[ "$line" == "{"* ]]; then
    echo "$line" | tee -a "$out"
  else
    status=1
    echo "gpu_check: FAILED: $*" >&2
    tail -n 5 "$errors" >&2
  fi
}

# Our command line, which must not import TensorFlow.
guarded='import sys; from t5x_selfprog.main import main; code = main(sys.argv[1:])
assert "tensorflow" not in sys.modules; sys.exit(code)'
ours() { measure "$python" -c "$guarded" bench "$@" --json; }

ours attention --attention="$attention" --dtype=bfloat16
# Whether the kernels of a decoding step equal plain attention, and how long both take.
ours rows --size="${ROW_SHAPES:-$([[ "$device" == cuda ]] && echo 0p5b,smollm2,1p3b || echo tiny)}" --dtype=bfloat16
for size in ${SIZES:-125m 1p3b 2p7b}; do
  sample=(--size="$size" --dtype=bfloat16 --prompt="$prompt" --new="$new" --attempts="$attempts" --batch="$batch")
  ours sample "${sample[@]}" --repeat=3
  [[ "$device" == cuda ]] && ours sample "${sample[@]}" --repeat=3 --row_attention=triton
  ours sample "${sample[@]}" --repeat=3 --weights_dtype=int8 --cache_dtype=int8
  # Larger models recompute more and get fewer rows, so that 80 GB suffice.
  case "$size" in
    2p7b) rows=8 remat=full ;;
    1p3b) rows=16 remat=dots ;;
    *) rows=32 remat=dots ;;
  esac
  train=(--size="$size" --dtype=bfloat16 --seq="$seq" --batch="${ROWS:-$rows}" --steps="${STEPS:-10}")
  ours train "${train[@]}" --remat="$remat" --attention="$attention" --unroll=1
  if [[ -n "${PEER_PYTHON:-}" ]]; then
    measure "$PEER_PYTHON" "$peer" generate "${sample[@]}" --device="$device"
    measure "$PEER_PYTHON" "$peer" train "${train[@]}" --device="$device"
  fi
  [[ -n "${VLLM_PYTHON:-}" ]] && measure "$VLLM_PYTHON" scripts/measure/vllm_peer.py "${sample[@]}" --repeat=3
done

if [[ -n "${LOOP:-}" ]]; then  # a file of gin/runs, as quickstart: minutes
  measure "$python" -m t5x_selfprog.main bench loop --config="$LOOP" --json
fi

"$python" - "$out" <<'SUMMARY'
import json, sys

for row in map(json.loads, open(sys.argv[1])):
    rate = row.get("new_tokens_per_s") or row.get("tokens_per_s")
    share = row.get("bandwidth_share") or row.get("mfu")
    if rate:
        who = row.get("peer") or f"ours, weights {row.get('weights_dtype') or row['dtype']}"
        if row.get("row_attention") == "triton":
            who += ", triton"
        print(f"{row['job']:<9} {row['size']:<5} {who:<24} {rate:>12,.0f} tokens/s"
              + (f"   {share:.1%} of the device's peak" if share else ""))
SUMMARY
echo "gpu_check: raw lines in $out"
exit "$status"
