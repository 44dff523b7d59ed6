// The spikes of one word of neurons as events {token, extra, channel, row, column}, one a cycle, the lowest lane
// first; extra is the sign and before it, under a phase code, the step. When all have left a token may.
module snn_serialiser #(
    parameter LANES = 8,
    parameter PHASES = 0,
    parameter GROUP = 1, parameter CHANNEL = 1, parameter ROW = 1, parameter COLUMN = 1,
    parameter STEP = 1,
    parameter EXTRA = 1
) (
    input wire clk,
    input wire reset,
    output wire in_ready,
    input wire in_valid,
    input wire [LANES-1:0] in_spikes,
    input wire [LANES-1:0] in_negative,
    input wire [GROUP+ROW+COLUMN-1:0] in_place,
    // verilator lint_off UNUSEDSIGNAL
    // only phase codes carry it
    input wire [STEP-1:0] step,
    // verilator lint_on UNUSEDSIGNAL
    input wire token,
    output wire left,           // whether spikes are left
    output wire out_valid,
    input wire out_ready,
    output wire [EXTRA+CHANNEL+ROW+COLUMN:0] out_data
);
    localparam LANE = (LANES > 1) ? $clog2(LANES) : 1;

    reg [LANES-1:0] spikes, negative;
    reg [GROUP+ROW+COLUMN-1:0] place;
    wire [LANES-1:0] rest = spikes & (spikes - 1'b1);
    assign left = |spikes;
    assign in_ready = out_ready ? rest == 0 : spikes == 0;

    reg [LANE-1:0] lane;
    integer i;
    always @* begin
        lane = 0;
        for (i = LANES - 1; i >= 0; i = i - 1) if (spikes[i]) lane = i[LANE-1:0];
    end

    always @(posedge clk) begin
        if (in_ready) begin
            spikes <= in_valid ? in_spikes : {LANES{1'b0}};
            negative <= in_negative;
            place <= in_place;
        end else if (out_ready) spikes <= rest;
        if (reset) spikes <= 0;
    end

    wire [EXTRA-1:0] extra;
    generate
        if (PHASES > 1) begin : coded
            assign extra = {step, negative[lane]};
        end else begin : plain
            assign extra = negative[lane];
        end
    endgenerate
    // verilator lint_off UNUSEDSIGNAL
    // lanes beyond the last channel never fire, so its number needs no more than CHANNEL bits
    wire [GROUP+LANE-1:0] channel = place[ROW+COLUMN +: GROUP] * LANES[LANE:0] + {{GROUP{1'b0}}, lane};
    // verilator lint_on UNUSEDSIGNAL
    assign out_valid = token || left;
    assign out_data = token
        ? {1'b1, {EXTRA+CHANNEL+ROW+COLUMN{1'b0}}}
        : {1'b0, extra, channel[CHANNEL-1:0], place[ROW+COLUMN-1:0]};
endmodule
