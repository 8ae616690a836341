# bash completion for the moe-* programs: each prints its own subcommands, options and their values.
_moe_tools() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
    local words subcommand=()
    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 1 ] && "$program" --list-subcommands 2>/dev/null | grep -qx -e "${COMP_WORDS[1]}"; then
        subcommand=("${COMP_WORDS[1]}")
    fi
    case $cur:$prev in
    -*) words=$("$program" "${subcommand[@]}" --list-options 2>/dev/null) ;;
    *:-*) words=$("$program" "${subcommand[@]}" --list-values "$prev" 2>/dev/null) ;;
    *) [ "$COMP_CWORD" -gt 1 ] || words=$("$program" --list-subcommands 2>/dev/null) ;;
    esac
    [ -n "$words" ] || return 0 # files: bash's own completion
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _moe_tools moe-inspect moe-observe moe-score moe-prune moe-quant moe-bench
