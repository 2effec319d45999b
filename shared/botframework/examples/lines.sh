#!/bin/sh
# Prints the lines of the examples, without blank lines and comments, beside the lines that the same programs took when they were
# written against this crate before it had an `App`.
cd "$(dirname "$0")" || exit 1

lines() {
    # shellcheck disable=SC2086 # several files, separated by spaces
    cat $1 | grep -vcE '^[[:space:]]*(//|$)'
}

printf '%-24s %-30s %6s %6s\n' example program before now
while IFS='|' read -r file program before; do
    printf '%-24s %-30s %6s %6s\n' "$file" "$program" "$before" "$(lines "$file")"
done <<'TABLE'
echo.rs|echo|45
proactive.rs|proactive (sample 16)|117
conversation.rs|conversation (sample 57)|368
thread.rs|thread in a channel (sample 58)|100
state.rs middleware.rs|state and middleware|314
long_work.rs|typing and long work|
cards.rs|card with Action.Execute|
dialogs.rs|dialog|
search.rs|message extension|
sign_in.rs|sign-in|
TABLE
