#include "CCaptureABI.h"
#include "access.h"
