// The last layer: integrates and never fires, V = V + I + b at every step (I and b as in snn_neurons). At the
// end of a sample it sends every membrane as {0, channel, row, column, V}, then {1, …, 0} with the place of
// the greatest, of equal ones the first.
module snn_readout #(
    parameter LANES = 8, parameter BITS = 16, parameter STEPS = 1, parameter RATE = 1,
    parameter CHANNELS = 1, parameter ROWS = 1, parameter COLUMNS = 1,
    parameter HELD = 0, parameter SATURATED = 0,
    parameter BIAS_BITS = 1, parameter BIAS_SPAN = 0, parameter BIAS_ROWS = 1, parameter BIAS_STEPS = 1,
    parameter BIAS = "",
    parameter GROUPS = (CHANNELS + LANES - 1) / LANES,
    parameter WORDS = GROUPS * ROWS * COLUMNS,
    parameter WORD = (WORDS > 1) ? $clog2(WORDS) : 1,
    parameter CHANNEL = (CHANNELS > 1) ? $clog2(CHANNELS) : 1,
    parameter ROW = (ROWS > 1) ? $clog2(ROWS) : 1,
    parameter COLUMN = (COLUMNS > 1) ? $clog2(COLUMNS) : 1
) (
    input wire clk,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire in_held,
    input wire [WORD-1:0] in_target,
    input wire [LANES*BITS-1:0] in_data,
    input wire complete,
    output wire end_of_step,
    output wire end_of_sample,
    output wire out_valid,
    input wire out_ready,
    output wire [CHANNEL+ROW+COLUMN+BITS:0] out_data,
    output wire busy
);
    localparam GROUP = (GROUPS > 1) ? $clog2(GROUPS) : 1;
    localparam LANE = (LANES > 1) ? $clog2(LANES) : 1;
    localparam STEP = (STEPS > 1) ? $clog2(STEPS) : 1;
    localparam PLACE = CHANNEL + ROW + COLUMN;
    localparam [1:0] CLEAR = 0, GATHER = 1, SCAN = 2, CLASS = 3;

    localparam LAST_STEP = STEPS - 1;

    reg [1:0] state;
    reg entering;
    reg [STEP-1:0] step;
    wire last_step = !RATE || step == LAST_STEP[STEP-1:0];

    // a pass, in three stages: address, memory, membrane
    wire move, scanned, y_valid;
    wire [GROUP+ROW+COLUMN-1:0] y_place;
    wire [LANES*BITS-1:0] u;
    // verilator lint_off UNUSEDSIGNAL
    // there is no other parameter than the bias to read with it
    wire fetch;
    wire [WORD-1:0] word;
    wire [GROUP-1:0] group;
    // verilator lint_on UNUSEDSIGNAL
    // a readout keeps nothing beside its membranes
    // verilator lint_off UNUSEDSIGNAL
    wire store;
    wire [WORD-1:0] store_word;
    // verilator lint_on UNUSEDSIGNAL
    snn_integrator #(
        .LANES(LANES), .BITS(BITS), .GROUPS(GROUPS), .ROWS(ROWS), .COLUMNS(COLUMNS), .WORDS(WORDS),
        .GROUP(GROUP), .ROW(ROW), .COLUMN(COLUMN), .WORD(WORD), .HELD(HELD), .SATURATED(SATURATED),
        .BIAS_BITS(BIAS_BITS), .BIAS_SPAN(BIAS_SPAN), .BIAS_ROWS(BIAS_ROWS), .BIAS_STEPS(BIAS_STEPS), .BIAS(BIAS)
    ) integrator (
        .clk(clk), .reset(reset),
        .in_valid(in_valid && in_ready), .in_held(in_held), .in_target(in_target), .in_data(in_data),
        .start(entering), .clear(state == CLEAR), .move(move),
        .biased(RATE || step == 0), .next_step(end_of_step), .restart(end_of_sample),
        .fetch(fetch), .group(group), .word(word),
        .y_valid(y_valid), .y_place(y_place), .u(u),
        .written(state == CLEAR ? {LANES*BITS{1'b0}} : u), .drained(scanned),
        .store(store), .store_word(store_word)
    );

    // at the end of a sample a word leaves lane by lane
    // verilator lint_off WIDTH
    // lanes count below LANES and channels below CHANNELS, whatever their own widths
    reg [LANE-1:0] lane;
    wire [GROUP+LANE-1:0] channel = y_place[ROW+COLUMN +: GROUP] * LANES + lane;
    wire last_lane = lane == LANES - 1 || channel == CHANNELS - 1;
    wire send = y_valid && last_step;
    assign move = !send || (out_ready && last_lane);
    wire signed [BITS-1:0] value = u[lane*BITS +: BITS];
    // verilator lint_on WIDTH
    wire [PLACE-1:0] place = {channel[CHANNEL-1:0], y_place[ROW+COLUMN-1:0]};
    reg found;
    reg signed [BITS-1:0] best;
    reg [PLACE-1:0] best_place;
    always @(posedge clk) begin
        if (send && out_ready) begin
            lane <= last_lane ? 0 : lane + 1'b1;
            if (!found || value > best || (value == best && place < best_place)) begin
                best <= value;
                best_place <= place;
            end
            found <= 1'b1;
        end
        if (state == CLEAR) begin
            lane <= 0;
            found <= 1'b0;
        end
    end

    assign out_valid = send || state == CLASS;
    assign out_data = state == CLASS ? {1'b1, best_place, {BITS{1'b0}}} : {1'b0, place, value};
    assign in_ready = state == GATHER;
    assign end_of_step = state == SCAN && scanned && !last_step || end_of_sample;
    assign end_of_sample = state == CLASS && out_ready;
    assign busy = state == GATHER ? in_valid || complete : !out_valid || out_ready;

    always @(posedge clk) begin
        entering <= 1'b0;
        case (state)
            CLEAR: if (scanned) state <= GATHER;
            GATHER: if (complete) begin
                state <= SCAN;
                entering <= 1'b1;
            end
            SCAN: if (scanned) begin
                state <= last_step ? CLASS : GATHER;
                step <= step + 1'b1;
            end
            CLASS: if (out_ready) begin
                state <= CLEAR;
                entering <= 1'b1;
                step <= 0;
            end
        endcase
        if (reset) begin
            state <= CLEAR;
            entering <= 1'b1;
            step <= 0;
        end
    end
endmodule
