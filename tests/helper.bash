# Loaded by every .bats file: load helper
bats_require_minimum_version 1.5.0
ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
case $BUILD in /*) ;; *) BUILD=$ROOT/$BUILD ;; esac
PATH=$BUILD:$PATH
SHARED=${MOE_SHARED:-$ROOT/../shared}
TINY_QWEN3=$ROOT/examples/tiny-qwen3
TINY_GPTOSS=$ROOT/examples/tiny-gptoss
export PATH ROOT BUILD SHARED
# Tests compare lists of names: sorted by bytes, whatever the user's language.
unset LC_ALL
# Makefiles of examples/ take what the environment has.
unset MODEL DATA OUT WORK RATIO KEEP FIT EVAL
export LC_COLLATE=C

# What runs a model runs on the CPU, with make check-gpu on the GPU, unless a test says where: not on what happens to
# be there.
export MOE_DEVICE=${MOE_DEVICE:-cpu}
ON=$BATS_RUN_TMPDIR/on-$MOE_DEVICE
if [ ! -x "$ON/moe-bench" ]; then
    mkdir -p "$ON"
    # The paths are written out: a make between test and program has a BUILD of its own.
    cat >"$ON/moe-observe" <<END
#!/bin/bash
case " \$* " in *" --device "*) exec '$BUILD/moe-observe' "\$@" ;; esac
exec '$BUILD/moe-observe' --device $MOE_DEVICE "\$@"
END
    cat >"$ON/moe-bench" <<END
#!/bin/bash
case " \$* " in *" --device "*) exec '$BUILD/moe-bench' "\$@" ;; esac
case \$1 in
$("$BUILD/moe-bench" --list-subcommands | paste -sd '|')) exec '$BUILD/moe-bench' "\$1" --device $MOE_DEVICE "\${@:2}" ;;
esac
exec '$BUILD/moe-bench' "\$@"
END
    chmod +x "$ON"/*
fi
PATH=$ON:$PATH

# Tests that need a GPU to run on.
need_gpu() {
    [ "$MOE_DEVICE" = cuda ] || skip "needs a GPU: make check-gpu"
}

# Tests against the reference data beside the checkout; they skip where it is not.
need_shared() {
    [ -d "$SHARED/fixtures" ] || skip "no reference data beside the checkout (../shared)"
}

# Those of the trained models NAME... that are there; the test is skipped if none is.
trained() {
    local m there=()
    need_shared
    for m; do [ ! -d "$SHARED/models/$m" ] || there+=("$m"); done
    [ ${#there[@]} -gt 0 ] || skip "none of the trained models $* beside the checkout"
    TRAINED=("${there[@]}")
}

# fails_with PATTERN COMMAND...: exit status 1, exactly one line on stderr, matching PATTERN (extended
# regular expression), nothing on stdout.
fails_with() {
    local pattern=$1
    shift
    run --separate-stderr "$@"
    [ "$status" -eq 1 ] || { echo "status $status, expected 1: $*"; echo "$stderr"; return 1; }
    [ -z "$output" ] || { echo "unexpected output: $output"; return 1; }
    [ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ] || { echo "not one line: $stderr"; return 1; }
    [[ $stderr =~ $pattern ]] || { echo "does not match /$pattern/: $stderr"; return 1; }
}

# tokenizer DIR...: the smallest there is, in each.
tokenizer() {
    local d
    for d; do
        echo '{"model":{"vocab":{"a":0},"merges":[]}}' >"$d/tokenizer.json"
        echo '{}' >"$d/tokenizer_config.json"
    done
}

# seal STATS: gives edited statistics the digest of what they now say.
seal() {
    local digest
    digest=$(moe-score -n "$1" 2>&1 | sed -n 's/.*: the digest of the contents is \([0-9a-f]*\),.*/\1/p')
    sed -i "\$s/xxh3=.*/xxh3=$digest/" "$1"
}

# count_parameters DIR: adds total_parameters to the index of a BF16 model, as newer writers do.
count_parameters() {
    local index=$1/model.safetensors.index.json
    jq -S '.metadata.total_parameters = .metadata.total_size / 2' "$index" >"$1/index.new"
    mv "$1/index.new" "$index"
}
