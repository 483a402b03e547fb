#include "commands/commands.h"
#include "commands/explain_print.h"
#include "session/refusals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { REFUSAL_MAX = 256 * 1024 };

static void print_field(const json_t *all, const char *label, const char *key)
{
    const char *value = json_string_value(json_object_get(all, key));
    if (value != NULL && value[0] != '\0')
        printf("%-9s%s\n", label, value);
}

/* The same words as those of a fresh explanation. */
static bool print_text(const char *json)
{
    json_t *all = json_loads(json, 0, NULL);
    if (all == NULL)
        return false;
    json_int_t line = json_integer_value(json_object_get(all, "line"));
    print_field(all, "id:", "id");
    print_field(all, "time:", "time");
    print_field(all, "verdict:", "verdict");
    print_field(all, "stage:", "stage");
    print_field(all, "rule:", "rule");
    if (line > 0)
        printf("%-9s%s:%lld\n", "at:", json_string_value(json_object_get(all, "file")),
               (long long)line);
    print_field(all, "entry:", "entry");
    print_field(all, "reply:", "reply");
    print_field(all, "why:", "why");
    print_field(all, "change:", "change");
    const char *name;
    json_t *value, *facts = json_object_get(all, "facts");
    json_object_foreach(facts, name, value)
    {
        char *words = json_dumps(value, JSON_ENCODE_ANY);
        printf("  %-16s %s\n", name, words != NULL ? words : "");
        free(words);
    }
    json_decref(all);
    return true;
}

int explain_stored(const char *config, const char *id, bool json)
{
    struct policy *p;
    struct policy_machine machine = {.hostname = "localhost"}; /* only the data directory matters */
    struct err e = {0};
    struct buf out;
    bool found = false;
    int code = command_load_policy_for(config, false, &machine, &p);
    if (code != EXIT_DONE)
        return code;
    buf_init(&out, REFUSAL_MAX);
    if (!refusals_find(p->data_directory, id, &out, &found, &e)) {
        fprintf(stderr, "postern: %s\n", e.text);
        code = EXIT_IO;
    } else if (!found) {
        fprintf(stderr, "postern: no refusal %s is kept (only the newest are)\n", id);
        code = EXIT_NO_INPUT;
    } else {
        code = EXIT_NO;
        if (json)
            puts(buf_cstr(&out));
        else if (!print_text(buf_cstr(&out)))
            code = EXIT_INTERNAL;
    }
    buf_deinit(&out);
    policy_unref(&p);
    return code;
}
