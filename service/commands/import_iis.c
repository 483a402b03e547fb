#include "base/netaddr.h"
#include "commands/commands.h"
#include "import/import.h"
#include "platform/durable_file.h"
#include "platform/files.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct import_command {
    const char *output, *server;
    bool json, force;
};

static const char open_relay_text[] = "open relay";

/* What the result means, by the same code that serves. *open: strangers could relay. */
static int prove(const struct import_result *r, const char *name, bool *open)
{
    static const struct netaddr nobody[1] = {{{0}}};
    static const char *const names[] = {"localhost"};
    struct policy_machine machine = {nobody, 0, "localhost", names, 1};
    struct config_messages m;
    struct policy *p = NULL;
    struct acl_reason why;
    config_messages_init(&m);
    enum config_result result = policy_parse(name, buf_span(&r->yaml), &machine, &p, &m);
    int code = result == CONFIG_OK ? EXIT_DONE : EXIT_INTERNAL;
    if (result != CONFIG_OK)
        command_print_messages(&m, CONFIG_ERROR, stderr);
    *open = p != NULL && policy_is_open_relay(p, &why);
    policy_unref(&p);
    config_messages_deinit(&m);
    return code;
}

static int fail(const char *input, const struct err *e)
{
    fprintf(stderr, "postern import: %s: %s\n", input, e->text);
    return e->class == ERR_PERM ? EXIT_CONFIG : EXIT_INTERNAL;
}

/* The configuration, proven to load and to be no open relay. */
static int convert(const struct metabase *m, struct import_options *o, const char *name,
                   struct import_result *r)
{
    struct err e = {0};
    bool open = false;
    int code;
    if (!import_run(m, o, r, &e))
        return fail(o->input, &e);
    code = prove(r, name, &open);
    if (code != EXIT_DONE || !open)
        return code;
    import_deinit(r);
    o->close_relay = true;
    if (!import_run(m, o, r, &e))
        return fail(o->input, &e);
    code = prove(r, name, &open);
    if (code == EXIT_DONE && open) {
        fprintf(stderr, "postern import: %s: it would be an %s\n", o->input, open_relay_text);
        code = EXIT_INTERNAL;
    }
    return code;
}

static json_t *report_json(const struct import_result *r)
{
    json_t *lines = json_array(), *others = json_array();
    for (size_t i = 0; i < r->line_count; i++) {
        const struct import_line *l = &r->lines[i];
        json_array_append_new(lines, json_pack("{s:s, s:s, s:s, s:s, s:i, s:s}", "outcome",
                                               import_outcome_name(l->outcome), "place", l->place,
                                               "property", l->property, "value", l->value, "line",
                                               (int)l->line, "text", l->text));
    }
    for (size_t i = 0; i < r->other_count; i++)
        json_array_append_new(others,
                              json_pack("{s:I, s:s}", "server", (json_int_t)r->others[i].number,
                                        "comment", r->others[i].comment));
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "server", (json_int_t)r->server,
                     "taken_over", (json_int_t)r->counts[IMPORT_TAKEN], "changed",
                     (json_int_t)r->counts[IMPORT_CHANGED], "needs_you",
                     (json_int_t)r->counts[IMPORT_NEEDS_YOU], "properties", lines, "other_servers",
                     others);
}

static bool print_report(const struct import_result *r, bool json, FILE *to)
{
    struct buf text;
    bool ok;
    if (json) {
        json_t *all = report_json(r);
        char *out = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
        ok = out != NULL && fprintf(to, "%s\n", out) > 0;
        free(out);
        json_decref(all);
        return ok;
    }
    buf_init(&text, (size_t)64 * 1024 * 1024);
    ok = import_report(r, &text);
    fputs(buf_cstr(&text), to);
    buf_deinit(&text);
    return ok;
}

/* To a file, whole or not at all, or to standard output; the report goes where the other does not.
 */
static int deliver(const struct import_command *c, const struct import_result *r)
{
    struct err e = {0};
    if (c->output == NULL) {
        fwrite(buf_span(&r->yaml).p, 1, buf_span(&r->yaml).n, stdout);
        return print_report(r, false, stderr) ? EXIT_DONE : EXIT_INTERNAL;
    }
    if (!durable_file_write(c->output, buf_span(&r->yaml), 0644, &e)) {
        fprintf(stderr, "postern import: %s\n", e.text);
        return EXIT_IO;
    }
    if (!print_report(r, c->json, stdout))
        return EXIT_INTERNAL;
    if (!c->json)
        printf("%s written; look at what needs you, then: postern check -c %s\n", c->output,
               c->output);
    return EXIT_DONE;
}

static int import_bytes(const struct import_command *c, const char *input, struct span bytes,
                        unsigned server)
{
    struct import_options o = {.input = input, .server = server};
    struct import_result r = {.comment = ""};
    struct metabase m;
    struct err e = {0};
    int code;
    if (!metabase_read(bytes, &m, &e)) {
        code = fail(input, &e);
    } else {
        code = convert(&m, &o, c->output != NULL ? c->output : input, &r);
        if (code == EXIT_DONE)
            code = deliver(c, &r);
        import_deinit(&r);
    }
    metabase_deinit(&m);
    return code;
}

static int import_file(const struct import_command *c, const char *input, unsigned server)
{
    struct files_info there;
    struct err e = {0};
    struct buf bytes;
    int code;
    if (c->output != NULL && !c->force && files_stat(c->output, &there, &e) == FILES_OK) {
        fprintf(stderr, "postern import: %s is there already (--force writes over it)\n",
                c->output);
        return EXIT_NO;
    }
    buf_init(&bytes, METABASE_BYTES_MAX);
    switch (files_read(input, METABASE_BYTES_MAX, &bytes, &e)) {
    case FILES_ABSENT:
        fprintf(stderr, "postern import: %s: no such file\n", input);
        code = EXIT_NO_INPUT;
        break;
    case FILES_FAILED:
        fprintf(stderr, "postern import: %s\n", e.text);
        code = EXIT_IO;
        break;
    case FILES_OK: code = import_bytes(c, input, buf_span(&bytes), server); break;
    default: code = EXIT_INTERNAL;
    }
    buf_deinit(&bytes);
    return code;
}

int command_import(int argc, char **argv)
{
    struct import_command c = {0};
    const struct option options[] = {
        {.name = "output",
         .letter = 'o',
         .value = "FILE",
         .help = "where the configuration goes (default: standard output)",
         .text = &c.output},
        {.name = "server",
         .value = "N",
         .help = "which virtual server (default: the first)",
         .text = &c.server},
        {.name = "force", .help = "write over an existing FILE", .flag = &c.force},
        OPTION_JSON(&c.json),
    };
    struct command_line line = {
        .usage = "postern import iis METABASE.xml [-o FILE] [--server N] [--force] [--json]",
        .about = "Makes a configuration out of the settings of an IIS SMTP virtual server: "
                 "MetaBase.xml\n"
                 "(%SystemRoot%\\System32\\inetsrv), or what packaging/iis/export-iis-smtp.ps1 "
                 "wrote. The\n"
                 "report has a line for each property: taken over, changed and why, or needs you.\n"
                 "What is not certain is imported closed. Exit code 78: nothing can be made of it.",
        OPTIONS(options),
        .operands_min = 2,
        .operands_max = 2};
    uint64_t server = 0;
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    if (strcmp(line.operands[0], "iis") != 0)
        return options_usage_error(&line, "\"%s\", expected iis", line.operands[0]);
    if (c.server != NULL && (!span_u64(span_str(c.server), UINT32_MAX, &server) || server == 0))
        return options_usage_error(&line, "--server %s is no number of a virtual server", c.server);
    if (c.json && c.output == NULL)
        return options_usage_error(&line, "--json prints the report: -o FILE is needed too");
    return import_file(&c, line.operands[1], (unsigned)server);
}
