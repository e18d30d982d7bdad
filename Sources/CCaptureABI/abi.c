#include "CCaptureABI.h"
