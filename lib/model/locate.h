/*
 * locate.h -- from what the user typed to a directory with a checkpoint in it.
 */
#ifndef MOE_MODEL_LOCATE_H
#define MOE_MODEL_LOCATE_H

#include "base/err.h"

/*
 * arg is a directory with a config.json; a hub cache directory ("models--ORG--NAME", with refs/ and
 * snapshots/); or a hub id "ORG/NAME" (optionally "ORG/NAME@REVISION": a branch or
 * tag, refs/pr/1, or a commit by its first digits) looked up in $HF_HUB_CACHE, else
 * $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. An existing
 * directory wins over a hub id. Nothing is downloaded and the cache is never written to.
 * *dir: where config.json is (the caller frees). *revision: the snapshot's commit, or NULL (the caller
 * frees). A message says what was looked for where, and how to fetch the model.
 * what_file: the file that must be in the directory, normally "config.json" ("tokenizer.json" when only
 * text is to be encoded).
 */
int model_locate(const char *arg, const char *what_file, char **dir, char **revision, struct err *e);

#endif
