/* thermal_probe: reports the temperature once a step. In this example its policy grants LOG
 * alone, so that its first reading is a policy violation: it ends Trapped, and everything else
 * goes on.
 *
 * Capabilities it would need: TEMP_SENSOR, LOG.
 */
#include <fuse_module.h>

#include "text.h"

FUSE_MODULE_STEP
{
    FUSE_LOG(FUSE_LOG_INFO, "thermal_probe: about to read the temperature");

    float celsius = temp_get_reading();
    int32_t tenths = (int32_t)(celsius * 10.0f + (celsius < 0 ? -0.5f : 0.5f));
    uint32_t magnitude = tenths < 0 ? 0u - (uint32_t)tenths : (uint32_t)tenths;

    struct line line;
    line.len = 0;
    line_text(&line, tenths < 0 ? "thermal_probe: -" : "thermal_probe: ");
    line_number(&line, magnitude / 10);
    line_text(&line, ".");
    line_number(&line, magnitude % 10);
    line_text(&line, " C");
    line_log(&line, FUSE_LOG_INFO);
}
