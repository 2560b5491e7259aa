/* Completion scripts for bash, zsh and fish, printed from the verbs' tables: verbs, flags, and the values of choices. */
#include "cli/walk.h"

#include <stdio.h>

/* Prints `plain` with each character of `special` behind a backslash, and ' as the shell's '\'' . */
static void put_escaped(const char *plain, const char *special)
{
    for (; *plain; plain++) {
        if (*plain == '\'')
            fputs("'\\''", stdout);
        else
            printf("%s%c", strchr(special, *plain) ? "\\" : "", *plain);
    }
}

static bool has_words(const option *o)
{
    return o->kind == OPTION_CHOICE || o->names;
}

static void put_choices(const option *o)
{
    if (o->names) {
        text all = {0};
        o->names(&all);
        fputs(all.at ? all.at + 1 : "", stdout); /* without the first space */
        text_free(&all);
        return;
    }
    for (size_t i = 0; o->choices[i]; i++) printf("%s%s", i ? " " : "", o->choices[i]);
}

/* "'train'|'tokenizer train'", every path of verbs. */
static void put_path(const verb *v, const char *words, void *user)
{
    (void)v;
    const char **bar = user;
    printf("%s'%s'", *bar, words);
    *bar = "|";
}

static void put_paths(void)
{
    const char *bar = "";
    walk_verbs(put_path, &bar);
}

static void bash_choices_of(const option *o, const char *title, const char *words)
{
    (void)title;
    if (o->positional || !has_words(o)) return;
    printf("    '%s --%s') mapfile -t COMPREPLY < <(compgen -W '", words, o->name);
    put_choices(o);
    puts("' -- \"$current\"); return ;;");
}

static void bash_choices(const verb *v, const char *words, void *user)
{
    (void)user;
    walk_options(v, words, bash_choices_of);
}

static void bash_flag(const option *o, const char *title, const char *words)
{
    (void)title, (void)words;
    if (!o->positional)
        printf("--%s ", o->name);
    else if (o->kind == OPTION_CHOICE)
        put_choices(o), putchar(' ');
}

static void bash_words(const verb *v, const char *words, void *user)
{
    (void)user;
    printf("    '%s') all='", words);
    for (size_t i = 0; v->verbs[i]; i++) printf("%s ", v->verbs[i]->name);
    walk_options(v, words, bash_flag);
    printf("' ;;\n");
}

static void print_bash(void)
{
    fputs("# bash completion of ingot; use it with: source <(ingot completion bash)\n"
          "_ingot() {\n"
          "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} path='' all='' word\n"
          "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
          "    case \"${path:+$path }$word\" in\n      ",
          stdout);
    put_paths();
    puts(") path=\"${path:+$path }$word\" ;;\n"
         "      *) break ;;\n"
         "    esac\n"
         "  done\n"
         "  COMPREPLY=()\n"
         "  case \"$path $previous\" in");
    walk_verbs(bash_choices, NULL);
    fputs("  esac\n"
          "  case \"$path\" in\n"
          "    '') all='",
          stdout);
    for (size_t i = 0; all_verbs[i]; i++) printf("%s ", all_verbs[i]->name);
    puts("--help --version' ;;");
    walk_verbs(bash_words, NULL);
    puts("  esac\n"
         "  # Flags where a flag was begun, verbs where a verb belongs; else -o default completes files.\n"
         "  if [[ $current == -* || $all != --* ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$all\" -- \"$current\")\n"
         "  fi\n"
         "}\n"
         "complete -o default -F _ingot ingot");
}

static void zsh_flag(const option *o, const char *title, const char *words)
{
    (void)title, (void)words;
    if (o->positional) return;
    printf("        '%s--%s[", o->kind == OPTION_LIST ? "*" : "", o->name);
    put_escaped(o->help, "[]:\\");
    printf("]");
    if (has_words(o)) {
        printf(":%s:(", o->name);
        put_choices(o);
        printf(")");
    } else if (o->kind != OPTION_BOOL) {
        printf(":%s:_files", o->value ? o->value : o->name);
    }
    puts("' \\");
}

static void zsh_verb(const verb *v, const char *words, void *user)
{
    (void)user;
    printf("    '%s')\n", words);
    if (v->run) {
        puts("      _arguments \\");
        walk_options(v, words, zsh_flag);
        puts("        '*:file:_files' ;;");
        return;
    }
    printf("      verbs=(");
    for (size_t i = 0; v->verbs[i]; i++) {
        printf("'%s:", v->verbs[i]->name);
        put_escaped(v->verbs[i]->summary, ":\\");
        printf("' ");
    }
    puts(")\n      _describe verb verbs ;;");
}

static void print_zsh(void)
{
    fputs("#compdef ingot\n"
          "# zsh completion of ingot; save it as _ingot in a folder of $fpath\n"
          "_ingot() {\n"
          "  local path_words='' i=2\n"
          "  local -a verbs\n"
          "  while (( i < CURRENT )); do\n"
          "    case \"${path_words:+$path_words }${words[i]}\" in\n      ",
          stdout);
    put_paths();
    fputs(") path_words=\"${path_words:+$path_words }${words[i]}\" ;;\n"
          "      *) break ;;\n"
          "    esac\n"
          "    (( i++ ))\n"
          "  done\n"
          "  case \"$path_words\" in\n"
          "    '')\n      verbs=(",
          stdout);
    for (size_t i = 0; all_verbs[i]; i++) {
        printf("'%s:", all_verbs[i]->name);
        put_escaped(all_verbs[i]->summary, ":\\");
        printf("' ");
    }
    puts(")\n      _describe verb verbs ;;");
    walk_verbs(zsh_verb, NULL);
    puts("  esac\n"
         "}\n"
         "_ingot \"$@\"");
}

static void fish_flag(const option *o, const char *title, const char *words)
{
    (void)title;
    if (o->positional) return;
    printf("complete -c ingot -n '__ingot_in %s' -l %s", words, o->name);
    if (o->short_name) printf(o->short_name[1] ? " -o %s" : " -s %s", o->short_name);
    if (has_words(o)) {
        printf(" -x -a '");
        put_choices(o);
        printf("'");
    } else if (o->kind != OPTION_BOOL) {
        printf(" -r");
    }
    printf(" -d '");
    put_escaped(o->help, "\\");
    puts("'");
}

static void fish_verb(const verb *v, const char *words, void *user)
{
    (void)user;
    const char *name = strrchr(words, ' ');
    int before = name ? (int)(name - words) : 0;
    printf("complete -c ingot -f -n '__ingot_at %.*s' -a %s -d '", before, words, v->name);
    put_escaped(v->summary, "\\");
    puts("'");
    walk_options(v, words, fish_flag);
}

static void print_fish(void)
{
    puts("# fish completion of ingot; save it as ~/.config/fish/completions/ingot.fish\n"
         "function __ingot_words\n"
         "    for word in (commandline -opc)[2..-1]\n"
         "        string match -q -- '-*' $word; and break\n"
         "        echo $word\n"
         "    end\n"
         "end\n"
         "function __ingot_at # exactly these verbs so far\n"
         "    test (string join ' ' -- (__ingot_words)) = \"$argv\"\n"
         "end\n"
         "function __ingot_in # these verbs first\n"
         "    string match -q -- \"$argv *\" (string join ' ' -- (__ingot_words))' '\n"
         "end");
    walk_verbs(fish_verb, NULL);
}

typedef struct completion_options {
    int shell;
} completion_options;

static const char *const shells[] = {"bash", "zsh", "fish", NULL};

static const option options[] = {
    {"shell", CHOICE_AT(completion_options, shell), "SHELL", "for which shell", .choices = shells, .required = true,
     .positional = true},
};

static status run(call *c, void *o)
{
    (void)c;
    static void (*const print[])(void) = {print_bash, print_zsh, print_fish};
    print[((const completion_options *)o)->shell]();
    return INGOT_OK;
}

const verb verb_completion = {.name = "completion",
                              .summary = "print the completion script of a shell",
                              .run = run,
                              .options_bytes = sizeof(completion_options),
                              .options = {{NULL, OPTIONS(options), 0}},
                              .examples = "source <(ingot completion bash)\n"
                                          "ingot completion fish > ~/.config/fish/completions/ingot.fish\n"};
