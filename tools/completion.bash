# bash completion for the moe-* programs: each prints its own options with --list-options.
_moe_tools() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
    local words subcommand=()
    [[ $program == *moe-bench && $COMP_CWORD -gt 1 ]] && subcommand=("${COMP_WORDS[1]}")
    COMPREPLY=()
    case $program:$prev in
    *:--device) words="auto $("$program" "${subcommand[@]}" --list-devices 2>/dev/null | awk '$2 > 0 { print $1 }')" ;;
    *:--precision) words='auto bf16 f32' ;;
    *moe-score:-c | *moe-score:--criterion) words=$("$program" --list 2>/dev/null | sed '1d; s/ .*//') ;;
    *moe-score:--select) words='all worst' ;;
    *moe-score:--budget) words='uniform global' ;;
    *moe-quant:-t | *moe-quant:--to) words='bf16 mxfp4' ;;
    *moe-prune:--mtp) words='drop refuse' ;;
    *moe-bench:*moe-bench)
        words='perplexity compare refine repair speed'
        [[ $cur != -* ]] || words=$("$program" --list-options 2>/dev/null)
        ;;
    *)
        [[ $cur == -* ]] || return 0 # files: bash's own completion
        words=$("$program" "${subcommand[@]}" --list-options 2>/dev/null)
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _moe_tools moe-inspect moe-observe moe-score moe-prune moe-quant moe-bench
