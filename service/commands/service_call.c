#include "commands/service_call.h"

#include "admin/control.h"
#include "commands/exit_codes.h"
#include "platform/paths.h"

#include <stdio.h>
#include <stdlib.h>

enum { CALL_TIMEOUT_MS = 60 * 1000 };

enum service_call service_call(const char *command, const struct policy *policy, json_t *request,
                               json_t **result, int *code)
{
    char path[PATH_TEXT_MAX];
    struct err e = {0};
    json_t *answer = NULL;
    *code = EXIT_IO;
    if (!paths_control(policy->data_directory, path, sizeof path)) {
        json_decref(request);
        fprintf(stderr, "postern %s: %s: the path is too long\n", command, policy->data_directory);
        return SERVICE_FAILED;
    }
    if (!control_call(path, request, CALL_TIMEOUT_MS, &answer, &e)) {
        if (e.class == ERR_PERM)
            return SERVICE_ABSENT;
        fprintf(stderr, "postern %s: %s\n", command, e.text);
        return SERVICE_FAILED;
    }
    if (json_is_true(json_object_get(answer, "ok"))) {
        *result = json_incref(json_object_get(answer, "result"));
        *code = EXIT_DONE;
        json_decref(answer);
        return SERVICE_ANSWERED;
    }
    const char *why = json_string_value(json_object_get(answer, "error"));
    *code = (int)json_integer_value(json_object_get(answer, "code"));
    fprintf(stderr, "postern %s: %s\n", command, why == NULL ? "refused" : why);
    json_decref(answer);
    return SERVICE_REFUSED;
}

int service_absent(const char *command, const struct policy *policy)
{
    fprintf(stderr, "postern %s: no service runs on %s\n", command, policy->data_directory);
    return EXIT_IO;
}

void service_print_json(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
    printf("%s\n", text == NULL ? "null" : text);
    free(text);
    json_decref(value);
}
