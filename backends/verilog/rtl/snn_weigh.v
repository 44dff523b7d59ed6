// Weights for the targets of an event, LANES neurons at a time.
//
// SINGLE: a row of the memory is one weight for the one neuron target (depthwise convolutions, skips);
// else it holds the weights of LANES consecutive channels, and target is a word of the membrane memory.
// A spike adds or subtracts its weight. A constant input multiplies it by its value, once per sample, and
// a pool that divides by the size of its window by a multiplicity. A spike of step k of a phase code adds
// weight·2^(K−1−k).
module snn_weigh #(
    parameter LANES = 8,
    parameter SINGLE = 0,
    parameter BITS = 8,         // of a weight
    parameter ROWS = 1,         // of the weight memory
    parameter SHIFT = 0,
    parameter MEMBRANE = 16,    // bits; sums are exact modulo 2^MEMBRANE
    parameter EXTRA = 1,        // sign, {step, sign}, or a value
    parameter VALUE = 0,        // whether extra is a value
    parameter SCALE = 1,        // a value counts so many times
    parameter PHASES = 0,       // K of a phase code, else 0
    parameter GAIN = 1,
    parameter TARGET = 1,
    parameter WEIGHT = 1,
    parameter FILE = "",
    parameter WORD = SINGLE && LANES > 1 ? TARGET - $clog2(LANES) : TARGET
) (
    input wire clk,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire in_token,
    input wire [EXTRA-1:0] in_extra,
    input wire [3*GAIN-1:0] in_gain,
    input wire [WEIGHT-1:0] in_weight,
    input wire [TARGET-1:0] in_target,
    output reg out_valid,
    input wire out_ready,
    output reg out_token,
    output reg [WORD-1:0] out_target,
    output reg [LANES*MEMBRANE-1:0] out_data
);
    localparam STORED = SINGLE ? 1 : LANES;
    localparam LANE = (LANES > 1) ? $clog2(LANES) : 1;
    localparam FACTOR = (VALUE ? EXTRA + $clog2(SCALE) : 1) + 3 * GAIN;

    reg d_valid, d_token, d_negative;
    reg [TARGET-1:0] d_target;
    reg signed [FACTOR-1:0] d_factor;
    reg [MEMBRANE-1:0] d_shift;
    wire [STORED*BITS-1:0] row;
    wire move = !out_valid || out_ready;
    assign in_ready = !d_valid || move;

    snn_rom #(.WIDTH(STORED * BITS), .DEPTH(ROWS), .FILE(FILE)) weights (
        .clk(clk), .enable(in_ready), .address(in_weight), .data(row)
    );

    // Signed operands are extended to the width of a result and products cut to it: all of this is exact
    // modulo 2^MEMBRANE, and the sums are proved to fit.
    // verilator lint_off WIDTH
    wire signed [3*GAIN:0] times = {1'b0, in_gain};
    wire signed [EXTRA-1:0] value = in_extra;
    wire signed [FACTOR-1:0] factor = VALUE ? value * SCALE * times : in_extra[0] ? -times : times;
    wire [MEMBRANE-1:0] shift = SHIFT + (PHASES > 1 ? PHASES - 1 - (in_extra >> 1) : 0);
    reg signed [BITS-1:0] weight;
    reg signed [MEMBRANE-1:0] product;
    reg [LANES*MEMBRANE-1:0] products;
    wire [LANE-1:0] lane;
    generate
        if (SINGLE && LANES > 1) begin : one
            assign lane = d_target[LANE-1:0];
        end else begin : all
            assign lane = 0;
        end
    endgenerate

    integer i;
    always @* begin
        for (i = 0; i < LANES; i = i + 1) begin
            weight = row[(SINGLE ? 0 : i) * BITS +: BITS];
            if (VALUE || GAIN > 1) product = weight * d_factor;
            else product = d_negative ? -weight : weight;
            if (SINGLE && i != lane) product = 0;
            products[i*MEMBRANE +: MEMBRANE] = product <<< (PHASES > 1 ? d_shift : SHIFT);
        end
    end

    always @(posedge clk) begin
        if (in_ready) begin
            d_valid <= in_valid;
            d_token <= in_token;
            d_target <= in_target;
            d_negative <= in_extra[0];
            d_factor <= factor;
            d_shift <= shift;
        end
        if (move) begin
            out_valid <= d_valid;
            out_token <= d_token;
            out_target <= d_target >> (TARGET - WORD);
            out_data <= products;
        end
        if (reset) begin
            d_valid <= 1'b0;
            out_valid <= 1'b0;
        end
    end
    // verilator lint_on WIDTH
endmodule
