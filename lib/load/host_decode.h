/*
 * host_decode.h -- private to load: packing for a device that does not decode every storage format.
 */
#ifndef MOE_LOAD_HOST_DECODE_H
#define MOE_LOAD_HOST_DECODE_H

#include "device/device.h"

/* ops->pack() of these jobs; parts in a coding that the device does not decode are made its elements (f32
 * where the product is) on the host first, which takes host memory of their size meanwhile. Errors as pack().
 */
int pack_any(struct device *d, struct matrix_job *job, int jobs, struct err *e);

#endif
