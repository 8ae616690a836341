# chains.awk -- prints the lines of shell tests that cannot fail as they look
#
#     awk -f tests/chains.awk tests/*.bats
#
# `[ a ] && [ b ]` in the middle of a test does not end it when a is false (set -e leaves all but the last command of
# a list alone), and neither does `! cmd`. Found are lists with && and commands behind a ! that nothing looks at: no
# if, while or until before them and no || behind them. What is quoted, in parentheses (a subshell fails as a whole)
# or in [[ ]], a comment or a here-document is no list of the test.

FNR == 1 {
    stack = here = next_here = ""
    end_statement()
}

here != "" {
    text = $0
    sub(/^\t+/, "", text)
    if (text == here)
        here = ""
    next
}

{
    for (i = 1; i <= length($0); i++)
        i += step(substr($0, i), i > 1 ? substr($0, i - 1, 1) : " ")
    if (stack == "" && $0 !~ /(\\|&&|\|)[ \t]*$/)
        end_statement()
    here = next_here
    next_here = ""
}

function top() {
    return substr(stack, 1, 1)
}

function push(c) {
    stack = c stack
    return length(c) - 1
}

function pop() {
    stack = substr(stack, 2)
    return 0
}

# Looks at the beginning of s, the rest of a line; how many characters more than one are done with.
function step(s, before,    c, two) {
    c = substr(s, 1, 1)
    two = substr(s, 1, 2)
    if (top() == "'")
        return c == "'" ? pop() : 0
    if (c == "\\")
        return 1
    if (two == "$(" || two == "${")
        return push(substr(two, 2)) + 1
    if (c == "\"")
        return top() == c ? pop() : push(c)
    if (top() == "\"")
        return 0
    if (c == "'" && top() != "{")
        return push(c)
    if (c == "#" && before ~ /[ \t;(]/)
        return length(s)
    if (before != "<" && match(s, /^<<-?['"]?[A-Za-z_]+['"]?/)) {
        next_here = substr(s, 1, RLENGTH)
        gsub(/[<'"-]/, "", next_here)
        return RLENGTH - 1
    }
    if (c == "(")
        return push(c)
    if (two == "[[" && before ~ /[ \t;!]/ && top() != "[")
        return push("[") + 1
    if ((c == ")" && top() == "(") || (c == "}" && top() == "{"))
        return pop()
    if (two == "]]" && top() == "[")
        return pop() + 1
    return stack == "" ? command(s, c, two) : 0
}

# The same outside of everything.
function command(s, c, two) {
    if (two == "&&" || two == "||") {
        if (two == "&&")
            chained = FILENAME ":" FNR ": " $0
        caught = two == "||"
        return 1
    }
    if (c == ";" || c == "{" || c == "}" || c == ")")
        end_statement()
    else if (first && match(s, /^(if|elif|while|until) /))
        looked = 1
    else if (first && match(s, /^(then|do|else) /))
        return RLENGTH - 2
    else if (first && two == "! ")
        denied = FILENAME ":" FNR ": " $0
    if (c !~ /[ \t;{}]/)
        first = 0
    return 0
}

function end_statement() {
    if ((chained != "" || denied != "") && !looked && !caught)
        print chained != "" ? chained : denied
    chained = denied = ""
    looked = caught = 0
    first = 1
}

/^@test / && stack != "" {
    print FILENAME ":" FNR ": chains.awk loses its way before this line"
}
