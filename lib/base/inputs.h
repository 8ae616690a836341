/*
 * inputs.h -- private to base: which files are inputs, and which are outputs.
 *
 * No output takes the place of a file that was read, and no file is read that an output will take the place
 * of, whichever is named first and whatever their names: files are told apart by device and inode.
 */
#ifndef MOE_BASE_INPUTS_H
#define MOE_BASE_INPUTS_H

#include "base/err.h"

/* The open file is an input from now on, if it is a regular one; refused if it is an output. */
int input_add(int fd, struct err *e);
/* The process has made the open file: it is no file of a model, whatever directory it will be in. */
int input_made(int fd, struct err *e);
/* The file at path, if there is one, is an output from now on: it may not be read any more. */
int input_forbid(const char *path, struct err *e);
/* Refuses an output at path if that is an input or a directory with one anywhere below. */
int input_refuse(const char *path, struct err *e);

#endif
