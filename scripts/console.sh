# What the scripts show: one line a phase, redrawn on a terminal, plain in a pipe; the noise goes to a log.
# Sourced by the others; needs bash.

[[ -t 2 && ${TERM:-dumb} != dumb ]] && console_redraws=1 || console_redraws=
console_child=

say() { printf '%s\n' "$*" >&2; }

# die CODE MESSAGE [HINT]
die() {
  say "error: $2"
  [[ -n ${3:-} ]] && say "hint: $3"
  exit "$1"
}

# clock SECONDS: 75 -> 1:15
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# The last "[done/total]" that ninja wrote into LOG after byte FROM.
console_counts() {
  tail -c +$(($2 + 1)) "$1" 2>/dev/null | tail -n 40 | grep -oE '^\[[0-9]+/[0-9]+\]' | tail -n 1 | tr -d '[]' | tr '/' ' '
}

# bar DONE TOTAL: 16 cells
bar() {
  local filled=$(($2 > 0 ? 16 * $1 / $2 : 0)) cells
  ((filled > 16)) && filled=16
  printf -v cells '%*s' "$filled" ''
  printf '%s%s' "${cells// /#}" "$(printf '%*s' $((16 - filled)) '' | tr ' ' '.')"
}

# How a running phase reads: counts and time left when ninja gives counts, else time against the usual time.
console_progress() {  # LABEL USUAL LOG FROM START
  local spent=$((SECONDS - $5)) finished total left
  read -r finished total < <(console_counts "$3" "$4") || true
  if [[ -n ${total:-} ]] && ((finished > 4)); then
    left=$((spent * (total - finished) / finished))
    printf '%s %s %s/%s, about %s left' "$1" "$(bar "$finished" "$total")" "$finished" "$total" "$(clock $left)"
  else
    left=$(($2 > spent ? $2 - spent : 0))
    printf '%s %s %s so far, about %s left' "$1" "$(bar "$spent" "$2")" "$(clock $spent)" "$(clock $left)"
  fi
}

console_stop() {
  [[ -n $console_child ]] && kill -TERM -- "-$console_child" 2>/dev/null
  say ""
  say "stopped; a rerun continues"
  exit "$1"
}
trap 'console_stop 130' INT
trap 'console_stop 143' TERM

# phase LABEL USUAL_SECONDS LOG COMMAND...: runs COMMAND with its output in LOG. On failure: the log's end, exit 1.
phase() {
  local label=$1 usual=$2 log=$3 start=$SECONDS spoken=0 from status=0
  shift 3
  mkdir -p "$(dirname "$log")"
  printf '\n== %s: %s\n' "$label" "$*" >>"$log"
  from=$(stat -c %s "$log")
  set -m  # a process group of its own, so that an interrupt reaches everything the command started
  (set -e; "$@") >>"$log" 2>&1 </dev/null &
  console_child=$!
  set +m
  while kill -0 "$console_child" 2>/dev/null; do
    if [[ -n $console_redraws ]]; then
      printf '\r\033[K%s' "$(console_progress "$label" "$usual" "$log" "$from" "$start")" >&2
    elif ((SECONDS - start - spoken >= 60)); then
      spoken=$((SECONDS - start))
      say "$(console_progress "$label" "$usual" "$log" "$from" "$start")"
    fi
    sleep 0.3
  done
  wait "$console_child" || status=$?
  console_child=
  [[ -n $console_redraws ]] && printf '\r\033[K' >&2
  if ((status != 0)); then
    say "$label failed after $(clock $((SECONDS - start))); the end of $log:"
    tail -n 25 "$log" >&2
    exit 1
  fi
  say "$label $(bar 1 1) done $(clock $((SECONDS - start)))"
}
