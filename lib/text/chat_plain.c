/*
 * chat_plain.c -- templates of plain turns, without tools: Mixtral, DeepSeek-V2, ERNIE 4.5.
 */
#include "text/chat_parts.h"

/* ---- Mixtral: user and assistant by turns ---- */

static int mixtral_turn(struct chat_job *j, const cJSON *m, const char *system, bool user, const char *space)
{
    const char *content = chat_content(j, m);

    if (!content)
        return -1;
    if (!chat_is(m, user ? "user" : "assistant"))
        return chat_refuse(j, m, "the template '%s' wants %s here: user and assistant by turns", j->name,
                           user ? "user" : "assistant");
    if (!user)
        str_addf(j->out, "%s%s</s>", space, content);
    else
        str_addf(j->out, "%s[INST] %s%s%s [/INST]", space, system ? system : "", system ? "\n\n" : "",
                 content);
    return 0;
}

int chat_mixtral(struct chat_job *j)
{
    const cJSON *m = j->messages->child;
    const char *system = NULL;
    bool user = true;

    str_adds(j->out, "<s>");
    if (chat_is(m, "system")) {
        if (!(system = chat_content(j, m)))
            return -1;
        if (!m->next)
            return chat_refuse(j, m, "the template '%s' prints it with a user's message only", j->name);
        m = m->next;
    }
    for (; m; m = m->next, user = !user, system = NULL)
        if (mixtral_turn(j, m, system, user, " "))
            return -1;
    return 0;
}

int chat_mixtral_old(struct chat_job *j)
{
    const cJSON *m;
    bool user = true;

    str_adds(j->out, "<s>");
    for (m = j->messages->child; m; m = m->next, user = !user)
        if (mixtral_turn(j, m, NULL, user, ""))
            return -1;
    return 0;
}

/* ---- "User: ...", "Assistant: ..." ---- */

static int user_assistant(struct chat_job *j, const char *bos, const char *eos, const char *between,
                          const char *prompt)
{
    const cJSON *m;

    str_adds(j->out, bos);
    cJSON_ArrayForEach(m, j->messages)
    {
        const char *content = chat_content(j, m);

        if (!content)
            return -1;
        if (chat_is(m, "user"))
            str_addf(j->out, "User: %s%s", content, between);
        else if (chat_is(m, "assistant"))
            str_addf(j->out, "Assistant: %s%s", content, eos);
        else if (chat_is(m, "system"))
            str_addf(j->out, "%s%s", content, between);
        else
            return chat_refuse_role(j, m);
    }
    str_adds(j->out, j->generate ? prompt : "");
    return 0;
}

int chat_deepseek_v2(struct chat_job *j)
{
    return user_assistant(j, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "\n\n", "Assistant:");
}

int chat_ernie(struct chat_job *j)
{
    return user_assistant(j, "<|begin_of_sentence|>", "<|end_of_sentence|>", "\n", "Assistant: ");
}
