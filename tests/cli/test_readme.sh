# shellcheck shell=bash
# The commands of README.md and docs/training.md, as they are written, on a book of stories; with fewer steps.
source "$(dirname "$0")/lib.sh"
mkdir "$work/bin"
ln -s "$ingot" "$work/bin/ingot"

# The sh blocks of a page. A hundredth of the steps, so that the order of --steps 400 and --resume --steps 600 stays.
blocks() {
    sed -n '/^```sh$/,/^```$/{/^```/!p}' "$1" | sed -E 's/--steps ([0-9]+)00/--steps \1/; s/--warmup [0-9]+/--warmup 2/'
}

for page in README.md docs/training.md; do
    folder=$work/$(basename "$page" .md)
    mkdir "$folder"
    cd "$folder" || exit 1
    ln -s "$root/src/train" src
    ln -s "$root/include" include
    "$ingot" data stories --bytes 200k --output book.txt > log 2>&1 || { echo "FAILED: no book"; cat log; exit 1; }
    while IFS= read -r line; do
        case $line in
            'export PATH='*) continue ;;
            *'--format svg'*) command -v dot > /dev/null || continue ;;
        esac
        if ! PATH=$work/bin:$PATH bash -c "$line" > log 2>&1; then
            fail "$page: $line"
            tail -5 log
        fi
    done < <(blocks "$root/$page")
    ls run/last/model.safetensors > /dev/null || failed=1
done
exit "$failed"
