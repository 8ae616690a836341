/*
 * resident.h -- memory that this process has, and that the system could give, in bytes.
 */
#ifndef MOE_BASE_RESIDENT_H
#define MOE_BASE_RESIDENT_H

#include <stdint.h>

uint64_t resident_now(void);       /* 0: the system does not say */
uint64_t resident_most(void);      /* the most that it ever had; 0: the system does not say */
uint64_t resident_available(void); /* without swapping; UINT64_MAX: the system does not say */

#endif
